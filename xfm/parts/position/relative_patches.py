"""A learned score for each head and each offset between two patches, and three for the tokens before the patches.

Bao et al. 2022 (BEiT), section 2.3 and its code; the oracle is transformers' BeitRelativePositionBias.
"""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.kernels.attention import GridTable
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.parts.resize import Method, resize_grid
from xfm.spec import SpecError


def offsets(
    table: Float[Array, "rows N"], size: tuple[int, int], grid: tuple[int, int], method: Method
) -> Float[Array, "2*h-1 2*w-1 N"]:
    """The rows of a table made for a grid of `size`, resized for another grid.  grid: (h, w)."""
    (H, W), (h, w) = size, grid
    rows = table[: (2 * H - 1) * (2 * W - 1)].reshape(2 * H - 1, 2 * W - 1, -1)
    return resize_grid(rows, (2 * h - 1, 2 * w - 1), method)


class RelativePatches(Position):
    """A learned bias on scores, resized for grids of other sizes.

    The table [(2H - 1) (2W - 1) + 3, N] has a row for each offset, then those of the first tokens as queries, as keys
    and among themselves; without first tokens it lacks these three.
    size: (H, W) of the grid for which the table is learned, or one number for both.  first: the number of tokens before
    the patches.  resize: how the offsets are resized.  heads: N, for a stack that shares one table with all layers.
    """

    size: Count | tuple[Count, Count]
    first: CountOrZero = 1
    resize: Method = "bilinear"
    heads: Count | None = None

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> GridTable:
        """Raises SpecError without a grid."""
        if ctx.grid is None or len(ctx.grid) != 2:
            raise SpecError(f"position 'relative_patches' needs the tokens of a grid (h, w); the grid is {ctx.grid}")
        H, W = (self.size, self.size) if isinstance(self.size, int) else self.size
        rows = (2 * H - 1) * (2 * W - 1) + (3 if self.first else 0)
        table = param(self, "table", nn.initializers.normal(0.02), (rows, heads))
        own = table[-3:] if self.first else None
        return GridTable(offsets(table, (H, W), ctx.grid, self.resize), ctx.grid, self.first, own)

    def share(self, ctx: Context) -> dict[str, Any]:
        if self.heads is None:
            raise SpecError("position 'relative_patches' of a stack needs heads, the number of its layers' attention")
        return {"bias": self.bias(self.heads, ctx)}
