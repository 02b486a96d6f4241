"""A score for each head and offset between two tokens of a grid, made by a small network from the offset's logarithm.

Liu et al. 2022 (Swin Transformer V2), section 3.3 and equation 4. The bound of 16, the factor of 8 before the logarithm
and the division by it after are those of the authors' program; the oracle is transformers' Swinv2Model.
"""

import flax.linen as nn
import numpy as np
from jaxtyping import Float

from xfm.context import Context
from xfm.fields import Count, Positive
from xfm.kernels.attention import GridTable
from xfm.parts.linear import Linear
from xfm.parts.position.base import Position
from xfm.spec import SpecError

SPREAD = 8.0


def log_spaced(grid: tuple[int, int], reach: tuple[int, int]) -> Float[np.ndarray, "2*h-1 2*w-1 2"]:
    """sign(a) log(1 + 8 |a|) / log 8 for the offsets (dy, dx) within a grid, where a = offset / (reach - 1)."""
    sides = [np.arange(1 - side, side) / max(far - 1, 1) for side, far in zip(grid, reach, strict=True)]
    sides = [np.sign(a) * np.log1p(SPREAD * np.abs(a)) / np.log(SPREAD) for a in sides]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).astype(np.float32)


class ContinuousGrid(Position):
    """bound · sigmoid(W · relu(V · a + b)) for each offset, whose logarithm is a; it serves grids of any size.

    hidden: width of the network.  reach: the side of the grid whose largest offset is 1 before the logarithm, or its
    rows and columns; those of the grid itself if None. A network that was trained on smaller grids has theirs.
    Inside the mixer `windowed` the grid is the window.
    """

    hidden: Count = 512
    reach: Count | tuple[Count, Count] | None = None
    bound: Positive = 16.0

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> GridTable:
        """Raises SpecError without a grid of rows and columns."""
        if ctx.grid is None or len(ctx.grid) != 2:
            raise SpecError(f"position 'continuous_grid' needs a grid of rows and columns, and it is {ctx.grid}")
        reach = (self.reach, self.reach) if isinstance(self.reach, int) else self.reach or ctx.grid
        y = nn.relu(Linear(self.hidden, name="up")(log_spaced(ctx.grid, reach)))
        y = Linear(heads, bias=False, name="down")(y)
        return GridTable(self.bound * nn.sigmoid(y), ctx.grid)
