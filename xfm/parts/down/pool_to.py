"""A pool to a grid of a fixed size, whatever the size of the grid, with a map after it.

Wang et al. 2022 (PVT v2), section 3.2.1: the keys and values of linear spatial-reduction attention. Where the sizes do
not divide, tiles overlap as PyTorch's adaptive pooling cuts them.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.down.grid import coarser
from xfm.parts.grid import as_grid, pair, segments_of
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


@functools.cache
def tiles_of(before: int, after: int) -> np.ndarray:
    """[after before]: 1 where new token i reads old token j, from ⌊i b / a⌋ to below ⌈(i + 1) b / a⌉; else 0."""
    i, j = np.arange(after)[:, None], np.arange(before)
    return ((j >= i * before // after) & (j < -(-(i + 1) * before // after))).astype(np.float32)


def pooled(x: Float[Array, "B h w D"], size: tuple[int, int]) -> Float[Array, "B H W D"]:
    """The sum of each of H x W tiles, in float32."""
    rows, columns = tiles_of(x.shape[1], size[0]), tiles_of(x.shape[2], size[1])
    y = jnp.einsum("Hh,bhwd->bHwd", rows, x.astype(jnp.float32), precision="highest")
    return jnp.einsum("Ww,bHwd->bHWd", columns, y, precision="highest")


class PoolTo(nn.Module):
    """activation(norm(W · mean + b)), the mean being over the real tokens of each of `size` tiles.

    size: rows and columns of the output.  width: of the output, the input's if None.  norm: none if None.
    """

    size: Count | tuple[Count, Count]
    width: Count | None = None
    norm: Spec | None = None
    activation: str = "identity"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        size, (B, _, D) = pair(self.size), x.shape
        grid, segments = as_grid(x, ctx, "down 'pool_to'"), segments_of(ctx)
        held = jnp.ones((1, *grid.shape[1:3], 1)) if segments is None else (segments > 0)[..., None]
        y = (pooled(grid, size) / jnp.maximum(pooled(held, size), 1)).astype(x.dtype)
        y = Linear(self.width or D, name="out")(y.reshape(B, -1, D))
        if self.norm is not None:
            y = build(NORMS, self.norm, name="norm")(y)
        real = None
        if segments is not None:
            rows, columns = tiles_of(grid.shape[1], size[0]) > 0, tiles_of(grid.shape[2], size[1]) > 0
            real = jnp.where(rows[:, None, :, None] & columns[None, :, None, :], segments[:, None, None], 0).max((3, 4))
        return activation(self.activation)(y), coarser(ctx, real, size)
