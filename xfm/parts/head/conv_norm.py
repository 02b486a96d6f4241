"""A convolution that keeps a map's size, a norm and an activation: what heads of dense prediction are built of."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class ConvNorm(nn.Module):
    """activation(norm(conv(x))); the convolution has a bias where there is no norm.  size: of its square tiles, odd."""

    width: int
    size: int = 1
    norm: Spec | None = None
    activation: str = "identity"

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B h w width"]:
        size, margin = (self.size, self.size), (self.size // 2, self.size // 2)
        y = Conv(self.width, size, (1, 1), margin, bias=self.norm is None, name="conv")(x)
        if self.norm is not None:
            y = build(NORMS, self.norm, name="norm")(y)
        return activation(self.activation)(y)
