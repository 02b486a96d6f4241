"""Where in a text the answer to a question stands. Devlin et al. 2019 (BERT), sections 4.2 and 4.3."""

import collections
import dataclasses
import re
import string
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from xfm.fields import Count, Number
from xfm.objectives.base import Objective, cross_entropy, row_weights, weighted


@dataclasses.dataclass(frozen=True)
class Span(Objective):
    """Mean of the cross-entropies, in nats, of an answer's first and last token: head "span", batch["labels"] [B 2].

    A row without the answer has it at its first token. An answer has at most `longest` tokens.
    threshold: how much better than the best answer "there is none" must score, where the data has such questions.
    """

    evaluated: ClassVar[tuple[str, ...]] = ("longest", "threshold")

    longest: Count = 30
    threshold: Number = 0.0

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        out, sown = self.forward("model", params, batch, rng, train)
        scores, labels = jnp.swapaxes(out["span"], 1, 2), batch["labels"]  # [B 2 T], [B 2]
        right = (scores.argmax(-1) == labels).all(-1)
        metrics = {
            "loss": weighted(cross_entropy(scores, labels), row_weights(batch, labels.shape)),
            "accuracy": weighted(right, row_weights(batch, right.shape)),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The cross-entropy of always answering with the places' shares in the training data, one added per place."""

        def counts(source):
            rows = [source[i] for i in range(min(len(source), 4096))]
            places = np.array([row["labels"] for row in rows])
            return np.stack([np.bincount(places[:, i], minlength=len(rows[0]["tokens"])) for i in (0, 1)])

        known, seen = counts(data.train) + 1, counts(data.valid)
        logs = np.log(known / known.sum(1, keepdims=True))
        return {"place shares": float(-(seen * logs).sum() / seen.sum())}

    def report(self, params, extra, data, predict):
        pairs = list(zip(self.guesses(params, data, predict), data.valid.questions, strict=True))
        return {
            "exact_match": float(np.mean([exact_match(guess, _accepted(one)) for guess, one in pairs])),
            "f1": float(np.mean([word_f1(guess, _accepted(one)) for guess, one in pairs])),
        }

    def guesses(self, params, data, predict) -> list[str]:
        """The answer to each validation question: the best of all its rows; "" for none."""
        scores = predict(lambda p, batch: self.forward("model", p, batch)[0]["span"], params, data.valid)
        source, unanswerable = data.valid, any(not one.answers for one in data.valid.questions)
        best = [(-np.inf, "")] * len(source.questions)
        none = np.full(len(source.questions), np.inf)
        for i in range(len(source)):
            number, places = source.places(i)
            none[number] = min(none[number], scores[i, 0].sum())
            if len(places):
                start = source.start(i)
                value, first, last = best_span(scores[i, start : start + len(places)], self.longest)
                if value > best[number][0]:
                    context = source.questions[number].context
                    best[number] = value, context[places[first, 0] : places[last, 1]]
        return [
            "" if unanswerable and none[number] > value + self.threshold else text
            for number, (value, text) in enumerate(best)
        ]

    def examples(self, params, extra, data, predict, count: int = 3):
        """`count` validation questions: what was asked, the answer, the truth."""
        few = np.linspace(0, len(data.valid.questions) - 1, count).astype(int)
        guesses = self.guesses(params, data, predict)
        return [
            f"{one.text}\n    {guesses[i]!r}; it is {' or '.join(map(repr, dict.fromkeys(_accepted(one))))}"
            for i, one in ((int(i), data.valid.questions[int(i)]) for i in few)
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


def exact_match(guess: str, truths: list[str]) -> float:
    """1 where the guess equals one of the truths, both normalised."""
    return float(any(normalised(guess) == normalised(truth) for truth in truths))


def word_f1(guess: str, truths: list[str]) -> float:
    """The largest F1, over the truths, of the words that guess and truth share; of nothing and nothing it is 1."""

    def one(truth):
        a, b = normalised(guess).split(), normalised(truth).split()
        if not a or not b:
            return float(a == b)
        return 2 * sum((collections.Counter(a) & collections.Counter(b)).values()) / (len(a) + len(b))

    return max(one(truth) for truth in truths)


def _accepted(one) -> list[str]:
    return [text for text, _ in one.answers] or [""]
