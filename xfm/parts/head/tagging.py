"""One class per token: named entities, parts of speech."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero, Rate
from xfm.parts.head.at import chosen
from xfm.parts.linear import Linear


class Tagging(nn.Module):
    """Logits [B T classes], or [B K classes] at the positions ctx.at.  drop: before the linear map."""

    classes: CountOrZero
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B K classes"]:
        x = nn.Dropout(self.drop)(chosen(x, ctx), deterministic=not ctx.train)
        return Linear(self.classes, name="out")(x)
