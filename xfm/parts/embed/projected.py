"""Embeddings from tables of their own width, mapped to the stream's width before the norm. He et al. 2021 (DeBERTa)."""

from collections.abc import Mapping

import flax.linen as nn
from jaxtyping import Array

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NO_POSITION = freeze(dict(kind="none"))


class Projected(Embed):
    """drop(norm(W · tokens + places)); kind "tokens" with a `factor` has the norm before the map, this kind after it.

    vocab, types, position: of the tables.  factor: their width.  width: D.  places: spec of a position that is added
    after the map (Zhang et al. 2022, OPT-350M).
    """

    vocab: Count
    width: Count
    factor: Count
    types: CountOrZero = 0
    position: Spec = NO_POSITION
    places: Spec = NO_POSITION
    norm: Spec | None = None
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        tables = dict(kind="tokens", vocab=self.vocab, width=self.factor, types=self.types, position=self.position)
        x, ctx = build("embed", freeze(tables), name="tokens")(batch, ctx)
        x = Linear(self.width, bias=False, name="up")(x)
        x = ctx.clean(build(POSITIONS, self.places, name="places").add(x, ctx))
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train), ctx
