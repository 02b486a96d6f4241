"""Replaced token detection: whether a token is the text's own. Clark et al. 2020 (ELECTRA), section 2."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.activation import activation
from xfm.parts.linear import Linear


class Detection(nn.Module):
    """The log odds [B T], in the stream's dtype, that a token was replaced.  activation: after the first map."""

    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T"]:
        x = activation(self.activation)(Linear(x.shape[-1], name="dense")(ctx.clean(x)))
        return Linear(1, name="out")(x)[..., 0]
