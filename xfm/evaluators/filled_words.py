"""Words of validation texts that a model fills in from both sides: scores, and examples for people to read."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.evaluators.scores import ranks
from xfm.evaluators.text import (
    Row,
    common_words,
    long_word,
    mask_of,
    one_of,
    predictions,
    put,
    truths_of,
    word_rows,
)
from xfm.fields import Count, CountOrZero, Name


@dataclasses.dataclass(frozen=True)
class MaskedWords(Evaluator):
    """Gaps of one masked word each, filled in by the head `head`.

    common: gaps are made only at this number of the training text's most frequent words. If None, a gap may be any word
    of four letters or more, and nothing is scored.
    gaps: how many are scored. The scores are "word_accuracy", the share of gaps whose likeliest word is the true one;
    "word_accuracy_top5", the share where the true word is among the five likeliest; and "commonest_word", the accuracy
    of always predicting the most frequent word.
    shown: how many are shown, spread over the validation data, with the five likeliest words and the rank of the true
    one.  excerpt: tokens shown on either side.
    """

    head: Name = "mlm"
    common: Count | None = None
    gaps: Count = 256
    shown: CountOrZero = 3
    excerpt: Count = 12

    def run(self, forward, params, extra, data, mesh):
        """The three scores, none if `common` is None.  Raises XfmError if no validation row has a common word."""
        if self.common is None:
            return {}
        words = common_words(data, self.common)
        gaps = list(word_rows(data, self.gaps, one_of(words)))
        if not gaps:
            raise XfmError(f"config.evals: none of the {len(words)} most common words is in the validation rows")
        truths = truths_of(gaps)
        rank = ranks(self._chances(forward, params, data, mesh, gaps), truths)
        return {
            "word_accuracy": float(np.mean(rank == 1)),
            "word_accuracy_top5": float(np.mean(rank <= 5)),
            "commonest_word": float(np.mean(truths == words[0])),
        }

    def examples(self, forward, params, extra, data, mesh):
        """A paragraph for each gap: the text around it, the likeliest words, and the true one with its rank."""
        find = long_word(data) if self.common is None else one_of(common_words(data, self.common))
        gaps = list(word_rows(data, self.shown, find))
        if not gaps:
            return []
        return predictions(data, gaps, self._chances(forward, params, data, mesh, gaps), self.excerpt, "[MASK]")

    def _chances(self, forward, params, data, mesh, gaps):
        mask = mask_of(data)

        def masked(row, position):
            return {**row, "tokens": put(row["tokens"], position, mask), "at": np.int32([position])}

        return chances(forward, self.head, params, mesh, self.batch, [masked(*gap) for gap in gaps])


@dataclasses.dataclass(frozen=True)
class PermutedWords(Evaluator):
    """Words filled in by a model that predicts tokens in any order: the word comes last in the order of reading.

    shown: the number of rows, with one such word each.  excerpt: tokens shown on either side.
    """

    head: Name = "lm"
    shown: CountOrZero = 3
    excerpt: Count = 12

    def examples(self, forward, params, extra, data, mesh):
        """A paragraph for each gap: the text around it, the likeliest words, and the true one with its rank."""

        def last(row, position):
            return {**row, "order": put(np.zeros_like(row["tokens"]), position, 1), "asked": np.int32([position])}

        gaps = list(word_rows(data, self.shown, long_word(data)))
        if not gaps:
            return []
        likely = chances(forward, self.head, params, mesh, self.batch, [last(*gap) for gap in gaps])
        return predictions(data, gaps, likely, self.excerpt, "[____]")


def chances(
    forward: Callable, head: str, params: object, mesh: jax.sharding.Mesh, batch: int, rows: Sequence[Row]
) -> Float[Array, "n V"]:
    """The probability of each id at the one position that each row asks for.

    Raises XfmError if the head gives other positions.
    """

    def first(params, batch):
        logits = output(forward, head, params, batch)
        if logits.shape[1] != 1:
            raise XfmError(f"config.evals: the head {head!r} does not predict the one word that a row asks for")
        return jax.nn.softmax(logits[:, 0])

    return predict(first, params, rows, mesh, batch)
