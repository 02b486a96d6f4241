"""A learned query that attends to all tokens. Lee et al. 2019 (Set Transformer), section 3.2; Zhai et al. 2022."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import attention
from xfm.parts.ffn import FFNS
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class AttentionPool(nn.Module):
    """One learned query per head over the tokens, then, if `ffn` is given, y + ffn(norm(y))."""

    heads: Count
    ffn: Spec | None = None
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        B, T, D = x.shape
        shape = (self.heads, D // self.heads)
        query = self.param("query", nn.initializers.lecun_normal(), (1, D))
        q = Linear(shape, name="q")(jnp.broadcast_to(query, (B, 1, D)).astype(x.dtype))
        k, v = (Linear(shape, name=name)(ctx.clean(x)) for name in "kv")
        real = ctx.real(x).astype(jnp.int32)
        y = attention(q, k, v, segments=(jnp.ones((B, 1), jnp.int32), real))
        y = Linear(D, axes=2, name="o")(y)
        if self.ffn is not None:
            h = build(NORMS, self.norm, name="norm")(y)
            own = Context(train=ctx.train, dtype=ctx.dtype)  # one vector, of which the segments say nothing
            y = y + build(FFNS, self.ffn, name="ffn")(h, own)[0]
        return y[:, 0]
