"""A learned score for each head and each distance between two tokens of a grid, by rows and by columns.

Graham, El-Nouby, Touvron, Stock, Joulin, Jégou, Douze, "LeViT: a Vision Transformer in ConvNet's Clothing for Faster
Inference", 2021, equation 1 ("attention bias"); Wu et al. 2022 (TinyViT), section 3.3. Unlike `relative_grid` it does
not distinguish left from right, or above from below.
"""

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


def offsets(table: Float[Array, "h w N"]) -> Float[Array, "2*h-1 2*w-1 N"]:
    """The numbers of the distances (|dy|, |dx|) at the offsets dy = 1 - h, …, h - 1 and dx = 1 - w, …, w - 1."""
    rows, columns = (jnp.abs(jnp.arange(1 - side, side)) for side in table.shape[:2])
    return table[rows][:, columns]


class GridDistances(Position):
    """A learned bias on scores for each head, distance in rows and distance in columns, which starts at 0.

    size: (rows, columns) of the largest grid, or one number for both. Inside the mixer `windowed` the grid is the
    window.
    """

    size: Count | tuple[Count, Count]

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> GridTable:
        """Raises SpecError for a grid that the table does not hold."""
        H, W = pair(self.size)
        h, w = ctx.grid if ctx.grid is not None and len(ctx.grid) == 2 else (H + 1, W + 1)
        if h > H or w > W:
            raise SpecError(
                f"position 'grid_distances' holds the distances within a grid of {H} x {W}, and the attention has "
                f"{'no grid' if ctx.grid is None else ' x '.join(map(str, ctx.grid))}; set position.size to its grid"
            )
        table = param(self, "table", nn.initializers.zeros, (H, W, heads))
        return GridTable(offsets(table[:h, :w]), (h, w))
