"""The identity: with the norm of its sublayer it is a norm alone, as an entry of a pattern like any other.

It also takes a mixer's place in IdentityFormer: Yu, Si, Zhou, Luo, Zhou, Feng, Wang, Yan, "MetaFormer Baselines for
Vision", 2022, section 3.1.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context


class Identity(nn.Module):
    """y = x."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        return x, state
