"""A scale and a bias per channel without any statistics, where others normalise.

Touvron et al. 2021 (ResMLP), equation 1. Without its bias, in a branch's place "residual", it is the LayerScale of that
branch (Touvron et al. 2021, CaiT, equation 4).
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.fields import Number
from xfm.parts.param import param


class Affine(nn.Module):
    """scale · x + bias, without the bias if `bias` is false.  start: of the scale."""

    start: Number = 1.0
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        D = x.shape[-1]
        y = x * param(self, "scale", nn.initializers.constant(self.start), (D,)).astype(x.dtype)
        return y + param(self, "bias", nn.initializers.zeros, (D,)).astype(x.dtype) if self.bias else y
