"""A class for each word, judged at one of its tokens. Devlin et al. 2019 (BERT), section 5.3."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from xfm.errors import XfmError
from xfm.fields import CountOrZero
from xfm.objectives.base import Objective, cross_entropy, weighted
from xfm.objectives.classification import check_classes, require_classes
from xfm.objectives.entities import entity_scores
from xfm.objectives.scores import CLASSES, check_scores, scored
from xfm.objectives.text import excerpt


@dataclasses.dataclass(frozen=True)
class Tagging(Objective):
    """Cross-entropy, in nats per judged token, of the head "tags" with batch["labels"] [B T], of `classes` classes.

    batch["weights"] [B T] is 1 where a token is judged and 0 elsewhere.
    scores: names of scores.CLASSES, of single words; or "entities", for precision, recall and F1 of whole ones.
    """

    evaluated: ClassVar[tuple[str, ...]] = ("scores",)

    classes: CountOrZero = 0
    scores: Sequence[str] = ("entities",)

    def __post_init__(self):
        if self.classes < 2:
            raise XfmError(f"tagging: set classes to the number of tags, 2 or more; it is {self.classes}")
        check_scores("tagging", self.scores, {**CLASSES, "entities": None})

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        out, sown = self.forward("model", params, batch, rng, train)
        logits, labels, weights = out["tags"], batch["labels"], batch["weights"]
        require_classes(logits, self.classes)
        metrics = {
            "loss": weighted(cross_entropy(logits, labels), weights),
            "accuracy": weighted(logits.argmax(-1) == labels, weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The cross-entropy of always answering with the shares of the tags in the training data."""
        check_classes(self.classes, data)

        def shares(source):
            rows = [source[i] for i in range(min(len(source), 4096))]
            counts = sum(np.bincount(r["labels"], r["weights"], minlength=self.classes) for r in rows)
            return counts / counts.sum()

        known = np.maximum(shares(data.train), 1e-9)
        return {"tag shares": float(-(shares(data.valid) * np.log(known)).sum())}

    def report(self, params, extra, data, predict):
        truth, guess = data.valid.truth, self.guesses(params, data, predict)
        out = entity_scores(truth, guess) if "entities" in self.scores else {}
        names = [name for name in self.scores if name != "entities"]
        flat = [[data.classes.index(tag) for tags in side for tag in tags] for side in (truth, guess)]
        return out | scored(names, CLASSES, *flat)

    def guesses(self, params, data, predict) -> list[list[str]]:
        """The tags of each validation sentence, word by word; a word without a token is O, or else the first class."""
        empty = "O" if "O" in data.classes else data.classes[0]
        tags = [[empty] * len(truth) for truth in data.valid.truth]
        classes = predict(self._classes, params, data.valid)
        for i in range(len(data.valid)):
            sentence, words = data.valid.words(i)
            for word, place in words.items():
                tags[sentence][word] = data.classes[int(classes[i, place])]
        return tags

    def _classes(self, params, batch):
        return self.forward("model", params, batch)[0]["tags"].argmax(-1)

    def examples(self, params, extra, data, predict, count: int = 3, shown: int = 24):
        """`count` validation rows: the text, and the words that were guessed wrong."""
        lines = []
        rows = [data.valid[int(i)] for i in np.linspace(0, len(data.valid) - 1, count)]
        for row, guess in zip(rows, predict(self._classes, params, rows), strict=True):
            judged = np.flatnonzero(row["weights"])
            wrong = [
                f"{data.tokenizer.decode(row['tokens'][p : p + 1])!r} is {data.classes[row['labels'][p]]}, "
                f"not {data.classes[guess[p]]}"
                for p in judged
                if guess[p] != row["labels"][p]
            ]
            text = excerpt(row["tokens"], 0, shown, data.tokenizer, "")
            lines.append(f"{text}\n    {len(judged) - len(wrong)} of {len(judged)} right; {'; '.join(wrong[:3])}")
        return lines
