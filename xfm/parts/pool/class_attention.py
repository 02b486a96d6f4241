"""A learned class token that attends to all tokens and itself, and goes through an MLP: one layer for the class alone.

Touvron et al. 2021 (CaiT), section 3; as a pool over a convolutional network: Touvron, Cord, El-Nouby, Bojanowski,
Joulin, Synnaeve, Verbeek, Jégou, "Augmenting Convolutional networks with attention-based aggregation", 2021, section
3.1.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Number
from xfm.kernels.attention import attention
from xfm.parts.ffn import FFNS
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class ClassAttention(nn.Module):
    """norm(c) after c += scale · attention(c over [c, x]) and c += scale · ffn(c), both with a norm before them.

    heads: of the attention.  ffn: spec of the ffn slot.  norm: of all three.  start: of the two scales per channel.
    """

    heads: Count
    ffn: Spec
    norm: Spec = LAYERNORM
    start: Number = 1e-4

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        (B, _, D), N = x.shape, self.heads
        c = param(self, "cls", nn.initializers.normal(0.02), (1, 1, D)).astype(x.dtype)
        c = jnp.broadcast_to(c, (B, 1, D))

        def scale(name):
            return param(self, name, nn.initializers.constant(self.start), (D,)).astype(x.dtype)

        u = build(NORMS, self.norm, name="in_norm")(jnp.concatenate([c, ctx.clean(x)], axis=1))
        q, k, v = (Linear((N, D // N), name=name)(a) for name, a in (("q", u[:, :1]), ("k", u), ("v", u)))
        ones = jnp.ones((B, 1), jnp.int32)
        segments = ones, jnp.concatenate([ones, ctx.real(x).astype(jnp.int32)], axis=1)
        y = attention(q, k, v, segments=None if ctx.segments is None else segments)
        c = c + scale("attention_scale") * Linear(D, axes=2, name="o")(y)
        h = build(NORMS, self.norm, name="ffn_norm")(c)
        c = c + scale("ffn_scale") * build(FFNS, self.ffn, name="ffn")(h, ctx.apart())[0]
        return build(NORMS, self.norm, name="out_norm")(c)[:, 0]
