"""A convolution of each channel with itself, over the neighbours of a token.

Wu et al. 2022 (TinyViT), section 3.3: between attention and MLP, as "local convolution". With a norm and without a skip
connection it is a sublayer like others, whose norms and residual part say so.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.conv import Depthwise
from xfm.parts.grid import pair
from xfm.parts.mixer.both_ways import both_ways


class DepthwiseConv(nn.Module):
    """conv(x).  size: rows and columns of the convolution, odd. A row without a grid is a grid of one row."""

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    size: Count | tuple[Count, Count] = 3
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("depthwise", ctx, state)
        return Depthwise(pair(self.size), "mixer 'depthwise'", self.bias, name="conv")(x, ctx), None
