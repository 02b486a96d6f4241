"""Tokens from tables of a width of their own, led to the stream's before the norm. He et al. 2021 (DeBERTa)."""

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
    """drop(norm(W · tokens)): where kind "tokens" with a `factor` has its norm before the map, this has it after.

    vocab, types, position: of the tables.  factor: their width.  width: D.  places: spec of a position slot that is
    added behind the map (Zhang et al. 2022, OPT-350M).
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
