"""The first token, which the embedding or the tokeniser put there for this. Devlin et al. 2019, section 3."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero


class Cls(nn.Module):
    """x[:, index], one of the tokens that the embedding put first: the second one is DeiT's distillation token."""

    index: CountOrZero = 0

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        return ctx.clean(x)[:, self.index]
