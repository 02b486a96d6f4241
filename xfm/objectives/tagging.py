"""A class for each word, judged at one of its tokens. Devlin et al. 2019 (BERT), section 5.3."""

import dataclasses

import numpy as np

from xfm.errors import XfmError
from xfm.fields import CountOrZero
from xfm.objectives.base import Objective, answer, array_of, cross_entropy, some_rows, weighted
from xfm.objectives.classification import check_classes, require_classes


@dataclasses.dataclass(frozen=True)
class Tagging(Objective):
    """Cross-entropy, in nats per judged token, of the head "tags" with batch["labels"] [B T], of `classes` classes.

    batch["weights"] [B T] is 1 where a token is judged and 0 elsewhere.
    """

    classes: CountOrZero = 0

    def __post_init__(self):
        if self.classes < 2:
            raise XfmError(f"tagging: set classes to the number of tags, 2 or more; it is {self.classes}")

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of judged tokens whose tag is the likeliest."""
        out, sown = self.forward("model", params, batch, rng, train)
        logits, labels, weights = answer(out, "tags"), array_of(batch, "labels"), array_of(batch, "weights")
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
            pairs = ((array_of(row, "labels"), array_of(row, "weights")) for row in some_rows(source))
            counts = sum(np.bincount(*pair, minlength=self.classes) for pair in pairs)
            return counts / counts.sum()

        known = np.maximum(shares(data.train), 1e-9)
        return {"tag shares": float(-(shares(data.valid) * np.log(known)).sum())}
