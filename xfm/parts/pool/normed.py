"""A pooled vector with a norm of its own, where the stream has none.

After the pool: Bao et al. 2022 (BEiT), of the mean of the patches; Liu et al. 2022 (ConvNeXt), section 2.5. Before it:
Yu et al. 2022 (PoolFormer), whose last norm belongs to the classifier in its files.
"""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

PATCH_MEAN, LAYERNORM = freeze(dict(kind="patch_mean")), freeze(dict(kind="layernorm"))


class Normed(nn.Module):
    """norm(pool(x)), or pool(norm(x)).

    pool: spec of the pool slot.  norm: spec of the norm slot.  first: which of the two comes first.
    """

    pool: Spec = PATCH_MEAN
    norm: Spec = LAYERNORM
    first: Literal["pool", "norm"] = "pool"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        norm, pool = build(NORMS, self.norm, name="norm"), build("pool", self.pool, name="pool")
        return norm(pool(x, ctx)) if self.first == "pool" else pool(norm(ctx.clean(x)), ctx)
