"""A learned query that attends to all tokens. Lee et al. 2019 (Set Transformer), section 3.2; Zhai et al. 2022."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.ffn import FFNS
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class AttentionPool(nn.Module):
    """Multi-head attention of one learned query to the tokens, then, if `ffn` is given, y + ffn(norm(y))."""

    heads: Count
    ffn: Spec | None = None
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        B, _, D = x.shape
        query = param(self, "query", nn.initializers.lecun_normal(), (1, D))
        own = ctx.apart(row=x)
        reader = build("mixer", dict(kind="attention", heads=self.heads, memory="row"))
        nn.share_scope(self, reader)  # so its q, k, v and o lie beside `query`
        y, _ = reader.attend(jnp.broadcast_to(query, (B, 1, D)).astype(x.dtype), own)
        if self.ffn is not None:
            h = build(NORMS, self.norm, name="norm")(y)
            y = y + build(FFNS, self.ffn, name="ffn")(h, own)[0]
        return y[:, 0]
