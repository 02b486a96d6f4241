"""The inverted bottleneck: more channels, a convolution of each channel with itself, and fewer channels again.

Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, section 3.3;
with the nonlinearities and norms of Wu et al. 2022 (TinyViT), figure 3.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Depthwise
from xfm.parts.grid import pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class MBConv(nn.Module):
    """down_norm(down(activation(conv_norm(conv(activation(up_norm(up(x)))))))), without biases but those of the norms.

    hidden: F.  size: rows and columns of the convolution, odd.  norm: spec of all three norms. A row without a grid is
    a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    hidden: Count
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"
    norm: Spec = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("mbconv", ctx, state)
        f = activation(self.activation)
        h = Linear(self.hidden, bias=False, name="up")(ctx.clean(x))
        h = f(build(NORMS, self.norm, name="up_norm")(h))
        h = Depthwise(pair(self.size), "mixer 'mbconv'", bias=False, name="conv")(h, ctx)
        h = f(build(NORMS, self.norm, name="conv_norm")(h))
        y = Linear(x.shape[-1], bias=False, name="down")(h)
        return build(NORMS, self.norm, name="down_norm")(y), None
