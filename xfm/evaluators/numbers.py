"""How predicted numbers correlate with the true ones, such as the similarity of sentences. Cer et al. 2017 (STS-B)."""

import dataclasses
from collections.abc import Sequence

from xfm.evaluators.base import Evaluator, output
from xfm.evaluators.rows import predict
from xfm.evaluators.scores import NUMBERS, check_scores, scored
from xfm.fields import Name


@dataclasses.dataclass(frozen=True)
class Numbers(Evaluator):
    """Scores of the single output of the head `head`, against batch["labels"].  scores: names of scores.NUMBERS."""

    scores: Sequence[str] = ("pearson", "spearman")
    head: Name = "label"

    def __post_init__(self):
        check_scores("numbers", self.scores, NUMBERS)

    def run(self, forward, params, extra, data, mesh):
        """The scores of `scores` by name."""

        def both(params, batch):
            predicted = output(forward, self.head, params, batch)[:, 0]
            return batch["labels"], predicted

        return scored(self.scores, NUMBERS, *predict(both, params, data.valid, mesh, self.batch))
