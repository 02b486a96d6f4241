"""A pooled vector after a norm of its own, where the stream has none. Radford et al. 2021 (CLIP), section 2.4."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

CLS = freeze(dict(kind="cls"))
LAYERNORM = freeze(dict(kind="layernorm"))


class Normed(nn.Module):
    """norm(pool(x)).  pool: spec of the pool slot that comes first.  norm: spec of the norm slot."""

    pool: Spec = CLS
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        return build(NORMS, self.norm, name="norm")(build("pool", self.pool, name="pool")(x, ctx))
