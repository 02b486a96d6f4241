"""Answers to questions as spans of a text, judged as SQuAD judges them. Rajpurkar et al. 2016, section 6.1."""

import collections
import dataclasses
import re
import string

import numpy as np
from jaxtyping import Float

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.fields import Count, CountOrZero, Name, Number


@dataclasses.dataclass(frozen=True)
class Spans(Evaluator):
    """Exact match and F1 of the answers that the head `head` predicts.

    longest: the most tokens of an answer.  threshold: by how much "there is no answer" must score better than the best
    answer to be given, if the data has questions without an answer.  shown: the number of examples.
    """

    longest: Count = 30
    threshold: Number = 0.0
    head: Name = "span"
    shown: CountOrZero = 3

    def run(self, forward, params, extra, data, mesh):
        """The scores "exact_match" and "f1", each the mean over the validation questions, from 0 to 1."""
        pairs = list(zip(self.answers(forward, params, data, mesh), data.valid.questions, strict=True))
        return {
            "exact_match": float(np.mean([exact_match(answer, _accepted(one)) for answer, one in pairs])),
            "f1": float(np.mean([word_f1(answer, _accepted(one)) for answer, one in pairs])),
        }

    def answers(self, forward, params, data, mesh) -> list[str]:
        """The answer to each validation question, the best of all its rows; "" if there is none."""

        def both(params, batch):
            return output(forward, self.head, params, batch)

        scores = predict(both, params, data.valid, mesh, self.batch)
        source, unanswerable = data.valid, any(not one.answers for one in data.valid.questions)
        best = [(-np.inf, "")] * len(source.questions)
        none = np.full(len(source.questions), np.inf)
        for i in range(len(source)):
            number, characters = source.characters(i)
            none[number] = min(none[number], scores[i, 0].sum())
            if len(characters):
                start = source.start(i)
                value, first, last = best_span(scores[i, start : start + len(characters)], self.longest)
                if value > best[number][0]:
                    context = source.questions[number].context
                    best[number] = value, context[characters[first, 0] : characters[last, 1]]
        return [
            "" if unanswerable and none[number] > value + self.threshold else text
            for number, (value, text) in enumerate(best)
        ]

    def examples(self, forward, params, extra, data, mesh):
        """A few validation questions, each with its answer and the truth."""
        answers = self.answers(forward, params, data, mesh) if self.shown else []
        few = spread_out(len(data.valid.questions), self.shown)
        return [
            f"{one.text}\n    {answers[i]!r}; it is {' or '.join(map(repr, dict.fromkeys(_accepted(one))))}"
            for i, one in ((i, data.valid.questions[i]) for i in few)
        ]


def best_span(scores: Float[np.ndarray, "T 2"], longest: int) -> tuple[float, int, int]:
    """The largest sum of a start's and an end's score, the end at or after the start and within `longest` tokens."""
    size = min(longest, len(scores))
    # sums[i, j]: from token i to token i + j
    ends = np.concatenate([scores[:, 1], np.full(size, -np.inf)])
    sums = scores[:, :1] + np.lib.stride_tricks.sliding_window_view(ends, size)[: len(scores)]
    first, more = np.unravel_index(np.argmax(sums), sums.shape)
    return float(sums[first, more]), int(first), int(first + more)


def normalised(text: str) -> str:
    """Lower case, without punctuation, the articles a, an and the, and needless blanks (SQuAD's evaluation)."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, truths: list[str]) -> float:
    """1 if the answer equals one of the truths, both normalised, else 0."""
    return float(any(normalised(answer) == normalised(truth) for truth in truths))


def word_f1(answer: str, truths: list[str]) -> float:
    """The largest F1, over the truths, of the words that answer and truth share; 1 if both are empty."""

    def one(truth):
        a, b = normalised(answer).split(), normalised(truth).split()
        if not a or not b:
            return float(a == b)
        return 2 * sum((collections.Counter(a) & collections.Counter(b)).values()) / (len(a) + len(b))

    return max(one(truth) for truth in truths)


def _accepted(one) -> list[str]:
    return [text for text, _ in one.answers] or [""]
