"""Words of validation texts that a model fills in from both sides, for people to read."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from xfm.evaluators.base import Evaluator
from xfm.evaluators.rows import predict
from xfm.evaluators.text import predictions, put
from xfm.fields import Count, CountOrZero, Name


@dataclasses.dataclass(frozen=True)
class MaskedWords(Evaluator):
    """For `shown` rows with one word masked: its context, the three likeliest words by the head `head`, and the truth.

    excerpt: tokens shown on either side.
    """

    head: Name = "mlm"
    shown: CountOrZero = 3
    excerpt: Count = 12

    def examples(self, forward, params, extra, data, mesh):
        def masked(row, place):
            return {**row, "tokens": put(row["tokens"], place, data.vocabulary.mask), "at": np.int32([place])}

        chances = partial(_chances, forward, self.head, params, mesh, self.batch)
        return predictions(data, chances, masked, self.shown, self.excerpt, "[MASK]")


@dataclasses.dataclass(frozen=True)
class PermutedWords(Evaluator):
    """The same for a model that reads tokens in any order: the word is read last."""

    head: Name = "lm"
    shown: CountOrZero = 3
    excerpt: Count = 12

    def examples(self, forward, params, extra, data, mesh):
        def last(row, place):
            return {**row, "order": put(np.zeros_like(row["tokens"]), place, 1), "asked": np.int32([place])}

        chances = partial(_chances, forward, self.head, params, mesh, self.batch)
        return predictions(data, chances, last, self.shown, self.excerpt, "[____]")


def _chances(forward: Callable, head: str, params, mesh, batch: int, rows):
    """The probability of each id at the one position that each row asks for."""

    def first(params, batch):
        return jax.nn.softmax(forward("model", params, batch)[0][head][:, 0])

    return predict(first, params, rows, mesh, batch)
