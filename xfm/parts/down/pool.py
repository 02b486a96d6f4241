"""Pooling of a grid's neighbours, tile by tile, without parameters."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.down.grid import check_divides, coarser, tiles
from xfm.parts.grid import as_grid, pair


def mean_of(x: Float[Array, "B h w n D"], real: Array) -> Float[Array, "B h w D"]:
    """The mean of those of the n tokens that are real, in float32; zeros where none is."""
    total = jnp.where(real, x, 0).sum(3, dtype=jnp.float32)
    return (total / jnp.maximum(real.sum(3), 1)).astype(x.dtype)


def max_of(x: Float[Array, "B h w n D"], real: Array) -> Float[Array, "B h w D"]:
    """The maximum in each channel of those of the n tokens that are real, the first of equal ones; zeros where none is.

    The gradient of jnp.max divides by the number of tokens that equal the maximum, which is none, and 0 / 0, where XLA
    computes the tokens twice and rounds them differently.
    """
    first = jnp.argmax(jnp.where(real, x, -jnp.inf), axis=3, keepdims=True)
    chosen = real & (first == jnp.arange(x.shape[3])[:, None])
    return jnp.where(chosen, x, 0).sum(3).astype(x.dtype)


BY = {"mean": mean_of, "max": max_of}


class Pool(nn.Module):
    """The mean or the maximum of each tile of the grid; the width stays the same.

    size: rows and columns of a tile; the tiles must fill the grid.  by: "mean" or "max", over the tile's real tokens.
    """

    size: Count | tuple[Count, Count] = 2
    by: Literal["mean", "max"] = "mean"

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return pair(self.size)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S D"], Context]:
        size, (B, T, D) = pair(self.size), x.shape
        grid = as_grid(x, ctx, "down 'pool'")
        check_divides(ctx, size, "down 'pool'")
        segments = jnp.ones((B, T), jnp.int32) if ctx.segments is None else ctx.segments
        segments = tiles(segments.reshape(grid.shape[:3]), size)
        h, w = segments.shape[1:3]
        parts = tiles(grid, size).reshape(B, h, w, -1, D)
        y = BY[self.by](parts, segments.reshape(B, h, w, -1, 1) > 0)
        real = None if ctx.segments is None else segments.max((3, 4))
        return y.reshape(B, h * w, D), coarser(ctx, real, (h, w))
