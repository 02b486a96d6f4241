"""An activation after the residual connection, as in the blocks of a ResNet. He et al. 2016, figure 2."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Rate
from xfm.parts.activation import activation
from xfm.parts.residual.thinning import thinned, whole_row


class Activated(nn.Module):
    """activation(x + y).  drop: of y.  drop_path: rate of stochastic depth at the top of the network, less below."""

    activation: str = "relu"
    drop: Rate = 0.0
    drop_path: Rate = 0.0

    @property
    def whole_row(self) -> str | None:
        """See `xfm.structures.tokens`."""
        return whole_row(self.drop_path)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], y: Float[Array, "B T D"], ctx: Context):
        return activation(self.activation)(x + thinned(self, y, ctx, self.drop, self.drop_path))
