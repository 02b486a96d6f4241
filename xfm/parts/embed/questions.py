"""Tokens, and behind them a question for each place that is to be guessed without being seen.

Yang, Dai, Yang, Carbonell, Salakhutdinov, Le, "XLNet: Generalized Autoregressive Pretraining for Language
Understanding", 2019, section 2.3: the content stream is of the tokens, the query stream of the questions.
"""

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.embed.base import Embed

SMALL = nn.initializers.normal(0.02)
GIVEN = ("order", "unseen", "backward", "barred", "asked")  # of a batch, for later parts


class Questions(Embed):
    """[B T D], or [B T+K D] where batch["asked"] [B K] names K places: the last K all start as one learned vector.

    A question belongs to the segment of its place, and heads that predict per token then answer the questions alone.
    To the mixer (kind "relative") ctx.shared gives "asked", and of the batch, where it has them: "order" [B T], by
    which a token attends to those of its own rank and lower, and a question to lower ones; "unseen" [B T T], 1 where a
    token must not attend to another; "backward" [B], 1 where distances count the other way. To the head of kind
    "span_beam" it gives "barred" [B T], 1 where no answer may be.

    vocab: V.  width: D.  drop: rate of dropout.
    """

    whole_row: ClassVar[str | None] = "puts questions behind a whole row"
    types: ClassVar[None] = None  # which layers compare, and no table has

    vocab: Count
    width: Count
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        word = nn.Embed(self.vocab, self.width, dtype=ctx.dtype, embedding_init=SMALL, name="word")
        question = self.param("question", SMALL, (1, 1, self.width))
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
