"""DeBERTa's enhanced mask decoder: absolute positions are added only in the decoder that predicts masked tokens.

He et al. 2021 (DeBERTa), section 3.2; running one layer twice over the same keys and values is the authors' setting.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.ffn import FFNS
from xfm.parts.mixer import MIXERS
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NORM = freeze(dict(kind="layernorm"))


class EnhancedMLM(nn.Module):
    """Logits [B T V], or [B K V] at the positions ctx.at, of a decoder with one post-norm layer.

    The queries start as x plus its absolute positions and pass through the layer `steps` times. The keys and values are
    made of x each time, which the mixer reads as the memory "memory". The layer is the encoder's last, so the stack
    below is one layer shorter than the network to be fine-tuned.

    mixer, ffn: specs of the layer.  norm, drop: after each of the two.  head: spec of the head that predicts.
    length: rows of the table of positions, as in position "learned".
    """

    mixer: Spec
    ffn: Spec
    head: Spec
    length: Count
    norm: Spec = NORM
    steps: Count = 2
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B K V"]:
        x = ctx.clean(x)
        known = ctx.remember("memory", x)
        parts = [build(MIXERS, self.mixer, name="mixer"), build(FFNS, self.ffn, name="ffn")]
        norms = [build(NORMS, self.norm, name=f"{place}_norm") for place in ("mixer", "ffn")]
        absolute = dict(kind="learned", length=self.length)
        query = ctx.clean(build(POSITIONS, absolute, name="position").add(x, ctx))
        for _ in range(self.steps):
            for part, norm in zip(parts, norms, strict=True):
                y, _ = part(query, known)
                query = norm(query + nn.Dropout(self.drop)(y, deterministic=not ctx.train))
        return build("head", self.head, name="words")(query, ctx)
