"""Scores of a classifier of whole inputs."""

import dataclasses
from collections.abc import Sequence

import jax

from xfm.batch import spread_out
from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.evaluators.scores import CLASSES, check_scores, scored
from xfm.evaluators.text import excerpt
from xfm.fields import CountOrZero, Name
from xfm.objectives.classification import of_classes


@dataclasses.dataclass(frozen=True)
class Classes(Evaluator):
    """Scores of the class that the head `head` finds likeliest, against batch["labels"].

    scores: names of scores.CLASSES.  shown: the number of examples.
    """

    scores: Sequence[str] = ()
    head: Name = "label"
    shown: CountOrZero = 3

    def __post_init__(self):
        check_scores("classes", self.scores, CLASSES)

    def run(self, forward, params, extra, data, mesh):
        """The scores of `scores` by name; none if `scores` is empty."""
        if not self.scores:
            return {}

        def likeliest(params, batch):
            predicted = self._logits(forward, params, batch).argmax(-1)
            return batch["labels"], predicted

        return scored(self.scores, CLASSES, *predict(likeliest, params, data.valid, mesh, self.batch))

    def _logits(self, forward, params, batch):
        return of_classes(output(forward, self.head, params, batch))

    def examples(self, forward, params, extra, data, mesh):
        """A few validation inputs, each with its likeliest class, the probability of that class, and the true class."""
        lines = []
        names = data.classes if data.tokenizer is not None else ()
        few = spread_out(len(data.valid), self.shown)
        rows = [data.valid[i] for i in few]
        every = self._chances(forward, params, rows, mesh) if rows else ()
        for i, row, chances in zip(few, rows, every, strict=True):
            predicted = int(chances.argmax())
            called = [names[c] if names else c for c in (predicted, int(row["labels"]))]
            lines.append(f"validation row {i}: class {called[0]} ({chances[predicted]:.0%}); it is {called[1]}")
            if names:
                lines[-1] = f"{excerpt(row['tokens'], 0, 24, data.tokenizer, '')}\n    {lines[-1]}"
        return lines

    def _chances(self, forward, params, rows, mesh):
        def chances(params, batch):
            return jax.nn.softmax(self._logits(forward, params, batch))

        return predict(chances, params, rows, mesh, self.batch)
