"""Scores of a tagger, which predicts a class for each word: of whole entities, or of single words."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.entities import entity_scores
from xfm.evaluators.rows import predict
from xfm.evaluators.scores import CLASSES, check_scores, scored
from xfm.evaluators.text import excerpt
from xfm.fields import Count, CountOrZero, Name


@dataclasses.dataclass(frozen=True)
class Tags(Evaluator):
    """Scores of the tags that the head `head` predicts, against data.valid.truth, word by word.

    scores: names of scores.CLASSES, for single words; or "entities", for precision, recall and F1 of whole entities.
    shown: the number of examples.  excerpt: tokens shown of each.
    """

    scores: Sequence[str] = ("entities",)
    head: Name = "tags"
    shown: CountOrZero = 3
    excerpt: Count = 24

    def __post_init__(self):
        check_scores("tags", self.scores, {**CLASSES, "entities": None})

    def run(self, forward, params, extra, data, mesh):
        """Those of `entity_scores` if `scores` has "entities", and the scores of single words by name."""
        predicted, truth = self.predicted(forward, params, data, mesh), data.valid.truth
        out = entity_scores(truth, predicted) if "entities" in self.scores else {}
        names = [name for name in self.scores if name != "entities"]
        flat = [[data.classes.index(tag) for tags in side for tag in tags] for side in (truth, predicted)]
        return out | scored(names, CLASSES, *flat)

    def predicted(self, forward, params, data, mesh) -> list[list[str]]:
        """The tags of each validation sentence, word by word; a word without a token is O, or else the first class."""
        classes = self._classes(forward, params, data.valid, mesh)
        empty = "O" if "O" in data.classes else data.classes[0]
        tags = [[empty] * len(truth) for truth in data.valid.truth]
        for i in range(len(data.valid)):
            sentence, words = data.valid.words(i)
            for word, position in words.items():
                tags[sentence][word] = data.classes[int(classes[i, position])]
        return tags

    def _classes(self, forward, params, rows, mesh):
        def likeliest(params, batch):
            return output(forward, self.head, params, batch).argmax(-1)

        return predict(likeliest, params, rows, mesh, self.batch)

    def examples(self, forward, params, extra, data, mesh):
        """A few validation rows: the text, and the words whose tags were predicted wrong."""
        lines = []
        rows = [data.valid[i] for i in spread_out(len(data.valid), self.shown)]
        every = self._classes(forward, params, rows, mesh) if rows else ()
        for row, predicted in zip(rows, every, strict=True):
            judged = np.flatnonzero(row["weights"])
            wrong = [
                f"{data.tokenizer.decode(row['tokens'][p : p + 1])!r} is {data.classes[row['labels'][p]]}, "
                f"not {data.classes[predicted[p]]}"
                for p in judged
                if predicted[p] != row["labels"][p]
            ]
            text = excerpt(row["tokens"], 0, self.excerpt, data.tokenizer, "")
            lines.append(f"{text}\n    {len(judged) - len(wrong)} of {len(judged)} right; {'; '.join(wrong[:3])}")
        return lines
