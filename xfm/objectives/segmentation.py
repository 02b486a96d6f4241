"""A class for each pixel: semantic segmentation. Long, Shelhamer, Darrell 2015, section 3.

The loss is that of torch.nn.functional.cross_entropy with weights of the classes and an ignored label.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Int

from xfm.errors import XfmError
from xfm.fields import CountOrZero, Integer, NotNegative, Positive
from xfm.objectives.base import Objective, answer, array_of, cross_entropy, row_weights, some_rows, weighted
from xfm.objectives.classification import check_classes, require_classes
from xfm.parts.resize import resize_maps


@dataclasses.dataclass(frozen=True)
class Segmentation(Objective):
    """Cross-entropy, in nats, of the head "mask" with batch["labels"] [B H W], of `classes` classes.

    The logits [B h w classes] are enlarged to the labels' size, bilinear.
    ignore: the label of pixels that do not count.  class_weights: one for each class, all 1 if empty.
    auxiliary: names of further heads of the same form, with the weights at which their losses are added.
    """

    classes: CountOrZero = 0
    ignore: Integer = 255
    class_weights: Sequence[Positive] = ()
    auxiliary: Mapping[str, NotNegative] = FrozenDict()

    def __post_init__(self):
        if self.classes < 2:
            raise XfmError(f"segmentation: set classes to the number of labels, 2 or more; it is {self.classes}")
        if len(self.class_weights) not in (0, self.classes):
            raise XfmError(
                f"segmentation: class_weights has {len(self.class_weights)} numbers for {self.classes} classes; give "
                "one for each, or none"
            )

    @property
    def terms(self):
        return {"loss": 1.0, **{f"loss/{name}": weight for name, weight in self.auxiliary.items()}}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of pixels whose likeliest class is theirs."""
        labels = array_of(batch, "labels")
        out, sown = self.forward("model", params, batch, rng, train)
        counts = counted(labels, self.classes, self.ignore)
        labels = jnp.where(counts, labels, 0)
        pixels = row_weights(batch, labels.shape) * counts
        weights = pixels * jnp.asarray(self.class_weights, jnp.float32)[labels] if self.class_weights else pixels
        metrics = {}
        for name, key in {"mask": "loss", **{name: f"loss/{name}" for name in self.auxiliary}}.items():
            logits = answer(out, name)
            require_classes(logits, self.classes)
            logits = resize_maps(logits.astype(jnp.float32), labels.shape[1:])
            metrics[key] = weighted(cross_entropy(logits, labels), weights)
            if name == "mask":
                metrics["accuracy"] = weighted(logits.argmax(-1) == labels, pixels)
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The cross-entropy of always answering with the class shares of the training data's pixels."""
        check_classes(self.classes, data)
        weights = np.asarray(self.class_weights or np.ones(self.classes))

        def shares(source):
            total = np.zeros(self.classes)
            for row in some_rows(source):
                labels = np.asarray(array_of(row, "labels"))
                total += np.bincount(labels[counted(labels, self.classes, self.ignore)], minlength=self.classes)
            total *= weights
            return total / max(total.sum(), 1)

        known = np.maximum(shares(data.train), 1e-9)
        return {"class shares": float(-(shares(data.valid) * np.log(known)).sum())}


def counted(labels: Int[Array, "*any"], classes: int, ignore: int) -> Bool[Array, "*any"]:
    """Which labels count: those of a class that are not ignored."""
    return (labels != ignore) & (labels >= 0) & (labels < classes)
