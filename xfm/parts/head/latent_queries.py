"""Learned queries, one per label, that attend to the tokens in one light decoder layer.

Liu, Huang, Lyu, Shakeri, Yu, Li, "EncT5: A Framework for Fine-tuning T5 as Non-autoregressive Models", 2021, section 3.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Number, Rate
from xfm.parts.ffn import FFNS
from xfm.parts.linear import Linear
from xfm.parts.mixer import MIXERS
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze

RMSNORM = freeze(dict(kind="rmsnorm"))


class LatentQueries(nn.Module):
    """Logits [B classes] for one query; for several [B queries classes], or [B queries] where classes is 1.

    Three parts are added to the queries in turn, each with a norm before it: `mixer`, among the queries, left out if
    None; attention to the tokens, with N heads of width H; and `ffn`. A last norm and a linear map follow.
    queries: 1 to classify, one per label where a text has several.  scale: of the scores, 1 as in T5; 1 / sqrt(H) if
    None.  bias: of attention.  drop: after each part and before the last map.
    """

    classes: CountOrZero
    heads: Count
    ffn: Spec
    queries: Count = 1
    width: Count | None = None
    mixer: Spec | None = None
    norm: Spec = RMSNORM
    scale: Number | None = 1.0
    bias: bool = False
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *any"]:
        B, _, D = x.shape
        if self.width is None and D % self.heads:
            raise SpecError(f"head 'latent_queries': a width of {D} does not divide among {self.heads} heads")
        drop = nn.Dropout(self.drop, deterministic=not ctx.train)
        own = ctx.apart(row=x)
        reader = build(MIXERS, self._reader())
        nn.share_scope(self, reader)  # so its q, k, v and o lie beside `queries`
        among = None if self.mixer is None else build(MIXERS, self.mixer, name="mixer")
        ffn = build(FFNS, self.ffn, name="ffn")

        table = param(self, "queries", nn.initializers.normal(0.02), (self.queries, D))
        y = jnp.broadcast_to(table.astype(x.dtype), (B, self.queries, D))
        if among is not None:
            y += drop(among(build(NORMS, self.norm, name="mixer_norm")(y), own)[0])
        y += drop(reader.attend(build(NORMS, self.norm, name="cross_norm")(y), own)[0])
        y += drop(ffn(build(NORMS, self.norm, name="ffn_norm")(y), own)[0])
        y = drop(build(NORMS, self.norm, name="norm")(y))

        logits = Linear(self.classes, name="out")(y)
        if self.queries == 1:
            return logits[:, 0]
        return logits[..., 0] if self.classes == 1 else logits

    def _reader(self) -> Spec:
        fields = {name: getattr(self, name) for name in ("heads", "width", "bias", "scale")}
        return dict(kind="attention", memory="row", **fields)
