"""Beginnings of validation texts, continued by a causal language model, for people to read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.evaluators.text import excerpt, require_text
from xfm.fields import Count, CountOrZero, Name


@dataclasses.dataclass(frozen=True)
class Continuations(Evaluator):
    """Beginnings of validation texts, each continued with the likeliest tokens of the head `head`, one by one.

    shown: the number of texts.  prompt: tokens of a beginning, at most half of a row.  length: tokens that are added.
    """

    head: Name = "lm"
    shown: CountOrZero = 3
    prompt: Count = 24
    length: Count = 16

    def examples(self, forward, params, extra, data, mesh):
        """A paragraph for each text: its beginning, a bar, and the continuation."""
        require_text(data)
        count = min(self.shown, len(data.valid))
        rows = [data.valid[i * len(data.valid) // count]["tokens"] for i in range(count)]
        if not rows:
            return []
        start = min(self.prompt, len(rows[0]) // 2)
        stop = start + min(self.length, len(rows[0]) - start)

        def continued(params, batch):
            """Positions that are not yet known hold zeros; in a causal model nothing before them depends on these."""

            def one_more(i, tokens):
                logits = output(forward, self.head, params, {"tokens": tokens})
                return tokens.at[:, i].set(jnp.take(logits, i - 1, axis=1).argmax(-1).astype(tokens.dtype))

            return jax.lax.fori_loop(start, stop, one_more, batch["tokens"])

        begun = [{"tokens": np.pad(np.int32(row[:start]), (0, stop - start))} for row in rows]
        return [
            f"{excerpt(row[:start], start, start, data.tokenizer, '|')[:-1]}"
            f"{' '.join(data.tokenizer.decode([int(i) for i in whole[start:]]).split())} …"
            for row, whole in zip(rows, predict(continued, params, begun, mesh, self.batch), strict=True)
        ]
