"""A score for every training row. Balestriero 2023 (DIET), section 3.1; Wu et al. 2018 (instance discrimination)."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.platform import product
from xfm.parts.param import param
from xfm.parts.pool import POOLS
from xfm.spec import Spec, build, freeze

CLS = freeze(dict(kind="cls"))


class Instances(nn.Module):
    """The products [B N] of a pooled vector with the N rows of a table, one for each training row; there is no bias.

    rows: N.  pool: spec of the pool slot.  The table is sharded as one of a vocabulary is.
    """

    rows: Count
    pool: Spec = CLS

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B N"]:
        y = build(POOLS, self.pool, name="pool")(x, ctx)
        table = param(self, "table", nn.initializers.normal(0.02), (self.rows, x.shape[-1]))
        return product("bd,nd->bn", y, table.astype(y.dtype))
