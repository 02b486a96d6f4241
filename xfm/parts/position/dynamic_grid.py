"""A score for each head and offset between two tokens of a grid, made by a small network from the offset itself.

Wang et al. 2022 (CrossFormer), section 3.2: dynamic position bias. The norm before each nonlinearity is that of the
authors' program, which is the oracle.
"""

import flax.linen as nn
import numpy as np
from jaxtyping import Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import GridTable
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.position.base import Position
from xfm.spec import Spec, SpecError, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))
LAYERS = 3  # norms, each followed by a nonlinearity and a linear map


def offsets(grid: tuple[int, int]) -> Float[np.ndarray, "2*h-1 2*w-1 2"]:
    """The offsets (dy, dx) between two tokens of a grid, in rows and columns."""
    sides = [np.arange(1 - side, side) for side in grid]
    return np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).astype(np.float32)


class DynamicGrid(Position):
    """Three times W · relu(norm(x)) + b over a linear map of each offset; it serves grids of any size.

    hidden: width of the network.  norm: before each nonlinearity.
    Inside the mixers `windowed` and `strided` the grid is the group's.
    """

    hidden: Count
    norm: Spec = LAYERNORM

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> GridTable:
        """Raises SpecError without a grid of rows and columns."""
        if ctx.grid is None or len(ctx.grid) != 2:
            raise SpecError(f"position 'dynamic_grid' needs a grid of rows and columns, and it is {ctx.grid}")
        y = Linear(self.hidden, name="up")(offsets(ctx.grid))
        for i in range(LAYERS):
            y = nn.relu(build(NORMS, self.norm, name=f"norm_{i}")(y))
            y = Linear(heads, name="down")(y) if i == LAYERS - 1 else Linear(self.hidden, name=f"map_{i}")(y)
        return GridTable(y, ctx.grid)
