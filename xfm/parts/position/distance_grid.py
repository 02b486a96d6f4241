"""A learned score for each head and each distance in rows and in columns. Graham et al. 2021 (LeViT), section 4.2."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import GridTable
from xfm.parts.grid import pair
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.spec import SpecError


def mirrored(table: Float[Array, "h w N"]) -> Float[Array, "2*h-1 2*w-1 N"]:
    """The numbers of distances |dy|, |dx| by their offsets dy, dx."""
    rows, columns = (jnp.abs(jnp.arange(1 - side, side)) for side in table.shape[:2])
    return table[rows][:, columns]


class DistanceGrid(Position):
    """A learned bias on scores for each head and distance within a grid, the same on either side.

    size: (rows, columns) of the largest grid, or one number for both; a smaller grid reads the first ones of the table.
    """

    size: Count | tuple[Count, Count]

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> GridTable:
        """Raises SpecError for a grid that the table does not hold."""
        H, W = pair(self.size)
        h, w = ctx.grid if ctx.grid is not None and len(ctx.grid) == 2 else (H + 1, W + 1)
        if h > H or w > W:
            raise SpecError(
                f"position 'distance_grid' holds the distances within a grid of {H} x {W}, and the attention has "
                f"{'no grid' if ctx.grid is None else ' x '.join(map(str, ctx.grid))}; set position.size to its grid"
            )
        table = param(self, "table", nn.initializers.normal(0.02), (H, W, heads))
        return GridTable(mirrored(table[:h, :w]), (h, w))
