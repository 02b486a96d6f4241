"""The mean of a token's neighbours less the token itself: a mixer without parameters.

Yu et al. 2022 (MetaFormer, PoolFormer), section 3.2 and algorithm 1. Neighbours outside the grid do not count.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.conv import depthwise_grid
from xfm.kernels.counting import included
from xfm.parts.grid import as_grid, of_grid, pair, segments_of
from xfm.parts.mixer.both_ways import both_ways


def mean_of_neighbours(
    x: Float[Array, "B h w D"], size: tuple[int, int], segments: Int[Array, "B h w"] | None = None
) -> Float[Array, "B h w D"]:
    """The mean of each token's surroundings of rows and columns `size`, within the grid and its segment."""
    ones = jnp.ones((*size, 1), x.dtype)
    there = jnp.ones((*x.shape[:3], 1), x.dtype)
    with included():  # in nothing: sums are no products, and papers do not count them
        count = depthwise_grid(there, ones, segments=segments)
        total = depthwise_grid(x, jnp.broadcast_to(ones, (*size, x.shape[-1])), segments=segments)
    return total / jnp.maximum(count, 1)


class Pooling(nn.Module):
    """mean of neighbours - x, within segments.

    size: rows and columns of a token's surroundings, odd. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    size: Count | tuple[Count, Count] = 3

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("pooling", ctx, state)
        ctx = of_grid(ctx, x.shape[1])
        grid = as_grid(x, ctx, "mixer 'pooling'")
        return (mean_of_neighbours(grid, pair(self.size), segments_of(ctx)) - grid).reshape(x.shape), None
