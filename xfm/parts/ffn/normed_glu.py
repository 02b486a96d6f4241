"""A gated feed-forward part with a norm before its last map, as EVA-02 has it (Fang et al. 2023)."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class NormedGLU(nn.Module):
    """down(norm(activation(gate(x)) · up(x))); the norm is the sub-LN of Wang et al. 2022, "Foundation Transformers".

    hidden: F, the width of gate and up each.  norm: spec of the norm slot.  drop: rate of dropout on the hidden units,
    after the norm.
    """

    hidden: Count
    activation: str = "silu"
    norm: Spec = LAYERNORM
    bias: bool = True
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        x = ctx.clean(x)
        gate = Linear(self.hidden, self.bias, name="gate")(x)
        h = activation(self.activation)(gate) * Linear(self.hidden, self.bias, name="up")(x)
        h = nn.Dropout(self.drop)(build(NORMS, self.norm, name="norm")(h), deterministic=not ctx.train)
        return Linear(x.shape[-1], self.bias, name="down")(h), state
