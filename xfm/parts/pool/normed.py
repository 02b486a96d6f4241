"""A pooled vector with a norm after it. Bao et al. 2022 (BEiT), whose last norm comes after the mean of the patches."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

PATCH_MEAN, LAYERNORM = freeze(dict(kind="patch_mean")), freeze(dict(kind="layernorm"))


class Normed(nn.Module):
    """norm(pool(x)).  pool: spec of the pool slot that comes first.  norm: spec of the norm slot."""

    pool: Spec = PATCH_MEAN
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        return build(NORMS, self.norm, name="norm")(build("pool", self.pool, name="pool")(x, ctx))
