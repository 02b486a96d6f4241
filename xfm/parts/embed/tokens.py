"""Token embeddings: word, position and type, then a norm and dropout. Devlin et al. 2019 (BERT), section 3."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.embed.table import Table
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NO_POSITION = freeze(dict(kind="none"))


class Tokens(Embed):
    """The sum of the rows of batch["tokens"], of positions and, with `types`, of batch["types"] (0 where absent).

    vocab: V.  width: D.  types: number of token types, 0 for none, None where only layers read them.
    position: spec of the position slot.  norm, drop: after the sum, no norm if None.  factor: width of the tables
    where it is less than D, a linear map leading from it to D (Lan et al. 2020 (ALBERT), section 3.1).
    The word table is given to later parts as ctx.embedding, for heads that are tied to it.
    """

    vocab: Count
    width: Count
    types: CountOrZero | None = 0
    position: Spec = NO_POSITION
    norm: Spec | None = None
    drop: Rate = 0.0
    factor: Count | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        E = self.factor or self.width
        word = Table(self.vocab, E, dtype=ctx.dtype, name="word")
        x = word(batch["tokens"])
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        if self.types:
            types = batch.get("types", jnp.zeros_like(batch["tokens"]))
            x += Table(self.types, E, dtype=ctx.dtype, name="type")(types)
        x = ctx.clean(x)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        x = nn.Dropout(self.drop)(x, deterministic=not ctx.train)
        if self.factor is not None:
            x = Linear(self.width, name="up")(x)
        return x, ctx.replace(embedding=word.embedding)
