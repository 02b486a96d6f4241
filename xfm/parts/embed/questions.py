"""Token embeddings followed by questions: one vector for each position that is predicted without attending to itself.

Yang, Dai, Yang, Carbonell, Salakhutdinov, Le, "XLNet: Generalized Autoregressive Pretraining for Language
Understanding", 2019, section 2.3: the tokens are the content stream, the questions the query stream.
"""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.embed.table import Table
from xfm.parts.param import param

SMALL = nn.initializers.normal(0.02)
GIVEN = ("order", "unseen", "backward", "barred", "asked")  # arrays of a batch that later parts find in ctx.shared


class Questions(Embed):
    """The tokens [B T D], or [B T+K D] with a question after them for each of the K positions in batch["asked"] [B K].

    All questions start as the same learned vector. A question belongs to the segment of its position, and heads that
    predict per token then predict at the questions alone. The mixer of kind "relative" finds these arrays of the batch,
    where it has them, in ctx.shared: "asked"; "order" [B T], the rank of each token, by which a token attends to tokens
    of its own and of lower rank, and a question to those of lower rank; "unseen" [B T T], 1 where a token must not
    attend to another; "backward" [B], 1 where distances count in the other direction. The head of kind "span_beam"
    finds "barred" [B T], 1 where no answer may start or end.

    vocab: V.  width: D.  drop: rate of dropout.
    """

    whole_row: ClassVar[str | None] = "puts questions after a whole row"
    types: ClassVar[None] = None  # layers compare types, and no table embeds them

    vocab: Count
    width: Count
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        word = Table(self.vocab, self.width, dtype=ctx.dtype, name="word")
        question = param(self, "question", SMALL, (1, 1, self.width))
        x = ctx.clean(word(batch["tokens"]))
        given = {name: batch[name] for name in GIVEN if name in batch}
        ctx = ctx.replace(embedding=word.embedding, shared={**ctx.shared, **given})
        if "asked" in given:
            x, ctx = self._asked(x, question.astype(x.dtype), given["asked"], ctx)
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train), ctx

    def _asked(self, x, question, asked, ctx: Context):
        (B, K), T = asked.shape, x.shape[1]

        def lengthened(a):
            return None if a is None else jnp.concatenate([a, jnp.take_along_axis(a, asked, axis=1)], axis=1)

        x = jnp.concatenate([x, jnp.broadcast_to(question, (B, K, self.width))], axis=1)
        at = jnp.broadcast_to(T + jnp.arange(K), (B, K))
        more = {name: lengthened(getattr(ctx, name)) for name in ("positions", "segments", "heard", "types")}
        return x, ctx.replace(at=at, **more)
