"""One vector per row: the output of an encoder that embeds texts or images."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, freeze

MEAN = freeze(dict(kind="mean"))


class Vector(nn.Module):
    """The pooled vector [B D].  pool: spec of the pool slot."""

    pool: Spec = MEAN

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        return build(POOLS, self.pool, name="pool")(x, ctx)
