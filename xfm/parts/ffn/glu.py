"""A gated feed-forward part: one linear map gates another. Shazeer 2020, equations 5 and 6."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.linear import Linear


class GLU(nn.Module):
    """down(activation(gate(x)) · up(x)): GEGLU with "gelu", SwiGLU with "silu", the first GLU with "sigmoid".

    hidden: F, the width of gate and up each.  drop: rate of dropout on the hidden units.
    out_bias: whether `down` has a bias, the same as `bias` if None (MosaicBERT has one there only).
    """

    hidden: Count
    activation: str = "gelu"
    bias: bool = True
    out_bias: bool | None = None
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        out_bias = self.bias if self.out_bias is None else self.out_bias
        x = ctx.clean(x)
        gate = Linear(self.hidden, self.bias, name="gate")(x)
        h = activation(self.activation)(gate) * Linear(self.hidden, self.bias, name="up")(x)
        h = nn.Dropout(self.drop)(h, deterministic=not ctx.train)
        return Linear(x.shape[-1], out_bias, name="down")(h), state
