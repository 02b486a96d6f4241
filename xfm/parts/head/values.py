"""Numbers for each token: the pixels of a patch, a teacher's features. He et al. 2022 (MAE), section 3."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero
from xfm.parts.head.at import chosen
from xfm.parts.linear import Linear


class Values(nn.Module):
    """A linear map to [B T width], or to [B K width] at the positions ctx.at."""

    width: CountOrZero

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B K width"]:
        return Linear(self.width, name="out")(chosen(x, ctx))
