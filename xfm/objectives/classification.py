"""Classification of whole inputs, with label smoothing, mixup and cutmix."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import CountOrZero, NotNegative, Rate
from xfm.objectives.base import Objective, answer, array_of, row_weights, some_rows, weighted
from xfm.objectives.mix import cutmix, mixup


@dataclasses.dataclass(frozen=True)
class Classification(Objective):
    """Cross-entropy, in nats, of the head "label" with batch["labels"], of `classes` classes.

    For two classes the head may give one number, the log-odds of the second, as the input of a logistic function.
    smoothing: share of a label's weight that is spread over all classes (Szegedy et al. 2016, section 7).
    mixup, cutmix: alpha of their Beta distributions, 0 to leave one out; with both, each batch takes one at random.
    """

    classes: CountOrZero = 0
    smoothing: Rate = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0

    def __post_init__(self):
        if self.classes < 2:
            raise XfmError(f"classification: set classes to the number of labels, 2 or more; it is {self.classes}")

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of inputs whose label is the likeliest class.

        In training, labels are smoothed and images mixed; accuracy is always that of the labels as they were.
        """
        mix, drop = jax.random.split(rng)
        hard = array_of(batch, "labels")
        batch, labels = self.labelled(batch, mix, train)
        out, sown = self.forward("model", params, batch, drop, train)
        logits = of_classes(answer(out, "label")).astype(jnp.float32)
        require_classes(logits, self.classes)
        weights = row_weights(batch, hard.shape)
        metrics = {
            "loss": weighted(-(labels * jax.nn.log_softmax(logits)).sum(-1), weights),
            "accuracy": weighted(logits.argmax(-1) == hard, weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def labelled(self, batch: Any, rng: Array, train: bool) -> tuple[Any, Float[Array, "B classes"]]:
        """The batch and the shares of its labels, in training smoothed and mixed with other rows."""
        labels = jax.nn.one_hot(array_of(batch, "labels"), self.classes)
        if not train:
            return batch, labels
        labels = labels * (1 - self.smoothing) + self.smoothing / self.classes
        return self._mixed(batch, labels, rng)

    def _mixed(self, batch, labels, rng):
        ways = [(f, alpha) for f, alpha in ((mixup, self.mixup), (cutmix, self.cutmix)) if alpha > 0]
        if not ways:
            return batch, labels
        if "images" not in batch:
            raise XfmError("mixup and cutmix mix images, and this data has none; set both to 0")
        which, how = jax.random.split(rng)
        branches = [lambda images, labels, f=f, alpha=alpha: f(images, labels, alpha, how) for f, alpha in ways]
        chosen = jax.random.randint(which, (), 0, len(ways))
        images, labels = jax.lax.switch(chosen, branches, batch["images"], labels)
        return {**batch, "images": images}, labels

    def baseline(self, data):
        """The cross-entropy of always answering with the training data's class shares."""
        check_classes(self.classes, data)

        def shares(source):
            labels = [int(array_of(row, "labels")) for row in some_rows(source)]
            return np.bincount(labels, minlength=self.classes) / len(labels)

        known = np.maximum(shares(data.train), 1e-9)
        return {"class shares": float(-(shares(data.valid) * np.log(known)).sum())}


def of_classes(logits: Float[Array, "B n"]) -> Float[Array, "B classes"]:
    """The logits of all classes. A single logit is that of the second of two classes; that of the first is 0."""
    return jnp.pad(logits, ((0, 0), (1, 0))) if logits.shape[-1] == 1 else logits


def require_classes(logits: Float[Array, "*any n"], classes: int) -> None:
    """Raises XfmError if the head has another number of classes than the objective."""
    if logits.shape[-1] != classes:
        raise XfmError(
            f"the head has {logits.shape[-1]} classes and config.objective.classes is {classes}; set both to the "
            "number of labels"
        )


def check_classes(classes: int, data: Any) -> None:
    """Raises XfmError if the data has another number of classes than the objective."""
    known = len(getattr(data, "classes", ()))
    if known and known != classes:
        raise XfmError(
            f"the data has {known} classes and config.objective.classes is {classes}; set it, and the classes of the "
            f"head, to {known}"
        )
