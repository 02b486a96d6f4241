"""Two linear maps with a nonlinearity between them. Vaswani et al. 2017, section 3.3."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.linear import Linear


class MLP(nn.Module):
    """down(activation(up(x))).

    hidden: F.  drop: rate of dropout on the hidden units.
    """

    hidden: Count
    activation: str = "gelu"
    bias: bool = True
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        h = Linear(self.hidden, self.bias, name="up")(ctx.clean(x))
        h = activation(self.activation)(h)
        h = nn.Dropout(self.drop)(h, deterministic=not ctx.train)
        return Linear(x.shape[-1], self.bias, name="down")(h), state
