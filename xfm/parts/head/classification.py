"""One class per row: a pooled vector and a linear map."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero, Rate
from xfm.parts.linear import Linear
from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, freeze

CLS = freeze(dict(kind="cls"))


class Classification(nn.Module):
    """Logits [B classes].

    pool: spec of the pool slot; its kind "dense" adds a layer before the last (ViT's pre-logits, RoBERTa's head).
    drop: before the linear map.
    """

    classes: CountOrZero
    pool: Spec = CLS
    bias: bool = True
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B classes"]:
        y = build(POOLS, self.pool, name="pool")(x, ctx)
        y = nn.Dropout(self.drop)(y, deterministic=not ctx.train)
        return Linear(self.classes, self.bias, name="out")(y)
