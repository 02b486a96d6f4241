"""A convolution of the grid over all channels. He, Zhang, Ren, Sun, "Deep Residual Learning", 2016, section 3.3."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.conv import Conv as Convolution
from xfm.parts.grid import as_grid, of_grid, pair
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import SpecError


class Conv(nn.Module):
    """conv(x), which keeps the width.

    size: rows and columns, odd.  Tokens outside the grid and padding count as zeros, and a row holds one text. A row
    without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "convolves over a whole row"
    mixes_all: ClassVar[bool] = True

    size: Count | tuple[Count, Count] = 3
    bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("conv", ctx, state)
        p, q = pair(self.size)
        if not p % 2 or not q % 2:
            raise SpecError(f"mixer 'conv': size is {p} x {q}; choose odd numbers of rows and columns")
        grid = as_grid(x, of_grid(ctx, x.shape[1]), "mixer 'conv'")
        return Convolution(x.shape[2], (p, q), (1, 1), (p // 2, q // 2), self.bias, name="conv")(grid).reshape(
            x.shape
        ), None
