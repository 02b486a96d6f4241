"""A learned score for each head and each offset between two tokens of a grid. Liu et al. 2021 (Swin), section 3.2."""

import flax.linen as nn

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import GridTable
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.spec import SpecError


class RelativeGrid(Position):
    """A learned bias on scores for each head and offset within a grid.

    size: (rows, columns) of the largest grid, or one number for both; a smaller grid reads the middle of the table.
    Inside the mixer `windowed` the grid is the window.
    """

    size: Count | tuple[Count, Count]

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> GridTable:
        """Raises SpecError for a grid that the table does not hold."""
        H, W = (self.size, self.size) if isinstance(self.size, int) else self.size
        h, w = ctx.grid if ctx.grid is not None and len(ctx.grid) == 2 else (H + 1, W + 1)
        if h > H or w > W:
            raise SpecError(
                f"position 'relative_grid' holds the offsets within a grid of {H} x {W}, and the attention has "
                f"{'no grid' if ctx.grid is None else ' x '.join(map(str, ctx.grid))}; set position.size to its grid"
            )
        table = param(self, "table", nn.initializers.normal(0.02), (2 * H - 1, 2 * W - 1, heads))
        return GridTable(table[H - h : H + h - 1, W - w : W + w - 1], (h, w))
