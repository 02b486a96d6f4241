"""All tokens and their mean by one norm, as a network without a class token has them for those who expect one.

Siméoni et al. 2025 (DINOv3), whose ConvNeXts are distilled so. The oracle is transformers' DINOv3ConvNextModel.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.norm import NORMS
from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class MeanAndTokens(nn.Module):
    """norm([mean; x_1; …; x_T]), [B 1+T D], with the mean over real tokens.  norm: spec of the norm slot."""

    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B 1+T D"]:
        x = ctx.clean(x)
        mean = build(POOLS, {"kind": "mean"}, name="pool")(x, ctx)
        return build(NORMS, self.norm, name="norm")(jnp.concatenate([mean[:, None], x], axis=1))
