"""One class per row: a pooled vector, perhaps a hidden layer, a linear map."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.activation import activation
from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, freeze

CLS = freeze(dict(kind="cls"))


class Classification(nn.Module):
    """Logits [B classes].

    pool: spec of the pool slot.  hidden: width of a layer before the last (BERT's pooler; ViT's pre-logits), none if
    None, with `activation`.  drop: before the last linear map.
    """

    classes: int
    pool: Spec = CLS
    hidden: int | None = None
    activation: str = "tanh"
    drop: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B classes"]:
        y = build(POOLS, self.pool, name="pool")(x, ctx)
        if self.hidden is not None:
            y = activation(self.activation)(nn.Dense(self.hidden, dtype=x.dtype, name="hidden")(y))
        y = nn.Dropout(self.drop)(y, deterministic=not ctx.train)
        return nn.Dense(self.classes, dtype=x.dtype, name="out")(y)
