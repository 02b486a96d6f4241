"""An image through several convolutions with strides, one after the other.

Touvron et al. 2021 (PatchConvNet), section 3.2; Xiao, Singh, Mintun, Darrell, Dollár, Girshick, "Early Convolutions
Help Transformers See Better", 2021, section 4.
"""

import math

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class Convs(nn.Module):
    """activation(norm(conv(x))) of each width in turn, without the activation after the last, which has D channels.

    widths: of all convolutions but the last.  strides: of each, the last one's included.  size: of all, odd; the margin
    is size // 2.  norm: none if None.  bias: of the convolutions.
    """

    width: Count
    widths: tuple[Count, ...]
    strides: tuple[Count, ...]
    size: Count = 3
    activation: str = "gelu"
    norm: Spec | None = None
    bias: bool = False

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return (math.prod(self.strides),) * 2

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        x, p, last = images, self.size, len(self.widths)
        for i, (width, stride) in enumerate(zip((*self.widths, self.width), self.strides, strict=True)):
            x = Conv(width, (p, p), (stride, stride), (p // 2, p // 2), self.bias, name=f"conv_{i}")(x)
            x = x if self.norm is None else build(NORMS, self.norm, name=f"norm_{i}")(x)
            x = x if i == last else activation(self.activation)(x)
        return x
