"""Words of validation texts replaced by those of a generator, and how a detector judges them, for people to read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.evaluators.text import excerpt, long_word, mask_of, put, word_rows
from xfm.fields import Count, CountOrZero


@dataclasses.dataclass(frozen=True)
class ReplacedWords(Evaluator):
    """Words of texts and of the generator in the same positions, with the model's probability that they are replaced.

    It needs an objective with the networks "generator" (head "mlm") and "model" (head "replaced").
    shown: the number of rows, with one such position each.  excerpt: tokens shown on either side.
    """

    shown: CountOrZero = 3
    excerpt: Count = 12

    def examples(self, forward, params, extra, data, mesh):
        """A paragraph for each position: the text around it, and how likely both words are to be replaced."""
        chosen = list(word_rows(data, self.shown, long_word(data)))
        if not chosen:
            return []

        def with_token(row, position, token):
            return {**row, "tokens": put(row["tokens"], position, token), "at": np.int32([position])}

        def fill(params, batch):
            return output(forward, "mlm", params, batch, "generator")[:, 0]

        def judge(params, batch):
            odds = output(forward, "replaced", params, {k: v for k, v in batch.items() if k != "at"})
            return jax.nn.sigmoid(jnp.take_along_axis(odds, batch["at"], axis=1)[:, 0])

        gaps = [with_token(row, position, mask_of(data)) for row, position in chosen]
        logits = predict(fill, params, gaps, mesh, self.batch)
        truths = [int(row["tokens"][position]) for row, position in chosen]
        drawn = [
            int(jax.random.categorical(jax.random.key(i), jnp.asarray(one).at[truth].set(-jnp.inf)))
            for i, (one, truth) in enumerate(zip(logits, truths, strict=True))
        ]
        pairs = list(zip(truths, drawn, strict=True))
        rows = [with_token(*one, token) for one, ids in zip(chosen, pairs, strict=True) for token in ids]
        chances = predict(judge, params, rows, mesh, self.batch).reshape(-1, 2)
        lines = []
        for (row, position), ids, (before, after) in zip(chosen, pairs, chances, strict=True):
            words = [repr(data.tokenizer.decode([i]).strip()) for i in ids]
            lines.append(
                f"{excerpt(row['tokens'], position, self.excerpt, data.tokenizer, '[____]')}\n"
                f"    probability of being replaced: {after:.0%} for the generator's {words[1]}, "
                f"{before:.0%} for the text's own {words[0]}"
            )
        return lines
