"""A last layer at each token before the pool, as convolutional networks have it. Fan et al. 2024 (RMT), the program."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

MEAN = freeze(dict(kind="mean"))


class Projected(nn.Module):
    """pool(activation(norm(W x + b))).

    width: of the layer.  norm: none if None.  pool: spec of the pool slot.
    """

    width: Count
    activation: str = "silu"
    norm: Spec | None = None
    pool: Spec = MEAN

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B width"]:
        y = Linear(self.width, name="dense")(ctx.clean(x))
        y = y if self.norm is None else build(NORMS, self.norm, name="norm")(y)
        return build("pool", self.pool, name="pool")(activation(self.activation)(y), ctx)
