"""A mixer over a row that tokens of its channel groups extend. Lu et al. 2022 (DHVT).

A head token is made of the mean over the row of the channels that one head would take; what the mixer gives for head
tokens is added to the first token of the row. The oracle is the authors' program.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class HeadTokens(nn.Module):
    """The outputs of the row's own tokens of mixer([head tokens, x]); the first one has the mean of the others' added.

    mixer: spec of a mixer, which takes the head tokens as leading tokens that are not patches.  heads: N, of which the
    n-th has channels n D / N to (n + 1) D / N. A head token is activation(norm(W m + b)) + point, where m is the mean
    of its channels over the real tokens, and the norm is over each D / N channels of the result.
    A row holds one text, whose first token is one of a class.
    """

    whole_row: ClassVar[str | None] = "adds tokens to a whole row"
    mixes_all: ClassVar[bool] = True

    mixer: Spec
    heads: Count
    activation: str = "gelu"
    norm: Spec = LAYERNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("head_tokens", ctx, state)
        ctx.refuse_heard("mixer 'head_tokens'")
        (B, _, D), N, x = x.shape, self.heads, ctx.clean(x)
        if D % N:
            raise SpecError(f"mixer 'head_tokens': a width of {D} does not divide among {N} heads; set heads")
        real = ctx.real(x)[..., None]
        mean = jnp.where(real, x, 0).sum(1, dtype=jnp.float32) / jnp.maximum(real.sum(1), 1)
        made = Linear((N, D // N), name="out")(mean.reshape(B, N, D // N).astype(x.dtype))
        made = activation(self.activation)(build(NORMS, self.norm, name="norm")(made)).reshape(B, N, D)
        made = made + param(self, "point", nn.initializers.normal(0.02), (N, D)).astype(x.dtype)

        def longer(known, first):
            return None if known is None else jnp.concatenate([jnp.broadcast_to(first, (B, N)), known], axis=1)

        segments = ctx.segments
        whole = ctx.replace(
            segments=None if segments is None else longer(segments, segments.max(1, keepdims=True)),
            positions=longer(ctx.positions, 0),
            types=longer(ctx.types, 0),
        )
        y, _ = build("mixer", self.mixer, name="mixer")(jnp.concatenate([made, x], axis=1), whole)
        heads, own = y[:, :N], y[:, N:]
        return own.at[:, 0].add(heads.mean(1, dtype=jnp.float32).astype(y.dtype)), None
