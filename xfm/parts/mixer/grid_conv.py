"""A convolution of the grid over all channels, as it ends each residual group of networks that restore images.

Liang, Cao, Sun, Zhang, Van Gool, Timofte, "SwinIR: Image Restoration Using Swin Transformer", 2021, section 3.2; Chen,
Wang, Zhou, Qiao, Dong 2023 (HAT), section 3.2.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.conv import Conv
from xfm.parts.grid import as_grid, of_grid, pair
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import SpecError


class GridConv(nn.Module):
    """conv(x), of the width of x.

    size: rows and columns that an output reads, odd. A row holds one text; a row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "convolves a whole row"
    mixes_all: ClassVar[bool] = True

    size: Count | tuple[Count, Count] = 3

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("grid_conv", ctx, state)
        p, q = pair(self.size)
        if not p % 2 or not q % 2:
            raise SpecError(f"mixer 'grid_conv' reads an odd number of rows and columns; its size is {self.size}")
        grid = as_grid(x, of_grid(ctx, x.shape[1]), "mixer 'grid_conv'")
        return Conv(x.shape[-1], (p, q), (1, 1), (p // 2, q // 2), name="conv")(grid).reshape(x.shape), None
