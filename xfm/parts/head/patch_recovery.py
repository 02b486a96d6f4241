"""Numbers at every pixel from the vectors of its patches, and a convolution that joins the patches.

Herde et al. 2024 (Poseidon), whose program has the convolution after the linear maps of Bi et al. 2023 (Pangu-Weather).
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.conv import Conv
from xfm.parts.head.pixels import unshuffled
from xfm.parts.linear import Linear
from xfm.parts.param import param


class PatchRecovery(nn.Module):
    """conv(pixels(x) + b), [B height width C], with one b for each channel and a convolution without a bias.

    stride: the side of a token's pixels.  channels: C.  size: rows and columns of the convolution, odd.
    """

    stride: Count
    channels: Count
    size: Count = 5

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B height width C"]:
        C, margin = self.channels, self.size // 2
        y = Linear(C * self.stride**2, bias=False, name="out")(ctx.patches(ctx.clean(x)))
        bias = param(self, "bias", nn.initializers.zeros, (C,)).astype(y.dtype)
        y = unshuffled(y, ctx.grid, self.stride) + bias
        return Conv(C, (self.size,) * 2, (1, 1), (margin, margin), bias=False, name="conv")(y)
