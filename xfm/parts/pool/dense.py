"""A pooled vector through one more layer. Devlin et al. 2019 (BERT): the "pooler", over the first token."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

CLS = freeze(dict(kind="cls"))


class DensePool(nn.Module):
    """norm(activation(W · pool(x) + b)).

    pool: spec of the pool slot that comes first.  width: of the vector, D if None.  norm: none if None.
    drop: before W.
    """

    pool: Spec = CLS
    width: Count | None = None
    activation: str = "tanh"
    bias: bool = True
    norm: Spec | None = None
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B width"]:
        y = build("pool", self.pool, name="pool")(x, ctx)
        y = nn.Dropout(self.drop)(y, deterministic=not ctx.train)
        y = activation(self.activation)(Linear(self.width or x.shape[-1], self.bias, name="dense")(y))
        return y if self.norm is None else build(NORMS, self.norm, name="norm")(y)
