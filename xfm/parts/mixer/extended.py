"""A mixer over a row that learned tokens extend, which have no output: memory that fine-tuning adds to each layer.

Sandler, Zhmoginov, Vladymyrov, Jackson, "Fine-tuning Image Transformers using Learnable Memory", 2022, section 3. Here
the memory joins after the sublayer's norm, so that it is what attention reads; several tasks at once are not here.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.param import param
from xfm.spec import Spec, build


class Extended(nn.Module):
    """The outputs of the row's own tokens of mixer([memory, x]).

    mixer: spec of a mixer, which takes the memory as leading tokens that are not patches.  tokens: of the memory.
    A row holds one text; its padding is masked, the memory never is.
    """

    whole_row: ClassVar[str | None] = "adds tokens to a whole row"
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    tokens: Count

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("extended", ctx, state)
        (B, _, D), m = x.shape, self.tokens
        memory = param(self, "memory", nn.initializers.normal(0.02), (1, m, D)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(memory, (B, m, D)), x], axis=1)

        def longer(known, first):
            return None if known is None else jnp.concatenate([jnp.broadcast_to(first, (B, m)), known], axis=1)

        segments = ctx.segments
        whole = ctx.replace(
            segments=None if segments is None else longer(segments, segments.max(1, keepdims=True)),
            positions=longer(ctx.positions, 0),
            heard=longer(ctx.heard, True),
            types=longer(ctx.types, 0),
        )
        y, _ = build("mixer", self.mixer, name="mixer")(x, whole)
        return y[:, m:], None
