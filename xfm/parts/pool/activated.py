"""A pooled vector through an activation, with no layer before it: a summary without projection."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.activation import activation
from xfm.spec import Spec, build, freeze

LAST = freeze(dict(kind="last"))


class Activated(nn.Module):
    """activation(pool(x)).  pool: spec of the pool slot that comes first."""

    pool: Spec = LAST
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        return activation(self.activation)(build("pool", self.pool, name="pool")(x, ctx))
