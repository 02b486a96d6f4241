"""A convolution of the grid with strides, over tiles that overlap or not.

Not overlapping: Liu et al. 2022 (ConvNeXt), section 2.6, with a norm before; Wang et al. 2021 (PVT), section 3.2, with
a norm after. Overlapping: Wang et al. 2022 (PVT v2), section 3.2; Yu et al. 2022 (PoolFormer), section 3.1.
"""

from typing import Literal

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.parts.conv import Conv
from xfm.parts.down.grid import coarser
from xfm.parts.grid import as_grid, pair
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build


class StridedConv(nn.Module):
    """out_norm(conv(in_norm(x))), an absent norm being the identity.

    width: of the output.  stride: rows and columns between two tiles.  size: of a tile, the stride if None; a larger
    one makes tiles overlap.  margin: rows and columns of zeros around the grid; size // 2 is usual where tiles overlap.
    rest: what is done where the last rows or columns are in no tile: the grid is refused, or they are not read.
    An output token is real where any token of its tile is; padding counts as zeros.
    """

    width: Count
    stride: Count | tuple[Count, Count] = 2
    size: Count | tuple[Count, Count] | None = None
    margin: CountOrZero | tuple[CountOrZero, CountOrZero] = 0
    bias: bool = True
    in_norm: Spec | None = None
    out_norm: Spec | None = None
    rest: Literal["refuse", "drop"] = "refuse"

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return pair(self.stride)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        stride, margin = pair(self.stride), pair(self.margin)
        size = stride if self.size is None else pair(self.size)
        if self.in_norm is not None:
            x = build(NORMS, self.in_norm, name="in_norm")(ctx.clean(x))
        grid = as_grid(x, ctx, "down 'strided_conv'")
        self._check(ctx.grid, size, stride, margin)
        y = Conv(self.width, size, stride, margin, self.bias, name="conv")(grid)
        if self.out_norm is not None:
            y = build(NORMS, self.out_norm, name="out_norm")(y)
        h, w = y.shape[1:3]
        real = None
        if ctx.segments is not None:
            around = [(0, 0), *((m, m) for m in margin)]
            there = ctx.segments.reshape(grid.shape[:3])
            real = jax.lax.reduce_window(there, 0, jax.lax.max, (1, *size), (1, *stride), around)
        return y.reshape(x.shape[0], h * w, self.width), coarser(ctx, real, (h, w))

    def _check(self, grid, size, stride, margin) -> None:
        """Raises SpecError where no tile fits into the grid, or where the last rows or columns are in no tile."""
        for side, p, step, m in zip(grid, size, stride, margin, strict=True):
            left = side + 2 * m - p
            if left < 0 or (left % step > m and self.rest == "refuse"):
                raise SpecError(
                    f"down 'strided_conv' has tiles of {size[0]} x {size[1]} at strides of {stride[0]} x {stride[1]} "
                    f"with a margin of {margin[0]} x {margin[1]}, which do not cover a grid of {grid[0]} x {grid[1]}; "
                    "choose an image size and a patch that give such a grid, or another margin"
                )
