"""An activation after another part of this slot, and a linear map after that.

With a convolution and its norm it is a layer of the convolutional stem of Xiao, Singh, Mintun, Darrell, Dollár,
Girshick, "Early Convolutions Help Transformers See Better", 2021, section 4, which ends with a 1x1 convolution.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.spec import Spec, build


class Activated(nn.Module):
    """W · activation(down(x)) + b.

    down: spec of the part, which ends with its norm.  out: width of the map, none if None.
    """

    down: Spec
    activation: str = "gelu"
    out: Count | None = None

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return build("down", self.down, parent=None).step()

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S out"], Context]:
        x, ctx = build("down", self.down, name="down")(x, ctx)
        x = activation(self.activation)(x)
        return x if self.out is None else Linear(self.out, name="out")(x), ctx
