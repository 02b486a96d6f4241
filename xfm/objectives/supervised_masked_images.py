"""Classification, and beside it the reconstruction of hidden patches by a shallow decoder that inference leaves out.

Chen, Salz, Chang, Sohn, Krishnan, Seyedhosseini, "Improve Supervised Representation Learning with Masked Image
Modeling" (2023).
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
from flax.core import FrozenDict

from xfm.fields import CountOrZero, NotNegative, Rate
from xfm.objectives.base import Objective, total
from xfm.objectives.classification import Classification
from xfm.objectives.masked_images import MaskedImages, require_autoencoder


@dataclasses.dataclass(frozen=True)
class SupervisedMaskedImages(Objective):
    """The loss of `classification` on the whole images, and `weight` times that of `masked_images` on the same ones.

    The network is an autoencoder whose encoder has the head "label" and whose decoder has the head "patches".
    classes, smoothing, mixup, cutmix: as in classification; patches are hidden of the images before they are mixed.
    mask, target: as in masked_images.
    """

    classes: CountOrZero = 0
    smoothing: Rate = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0
    mask: Mapping[str, Any] = FrozenDict(kind="random", rate=0.75)
    target: Mapping[str, Any] = FrozenDict(kind="codes")
    weight: NotNegative = 1.0

    def __post_init__(self):
        require_autoencoder("supervised_masked_images", self.model)
        self.of_labels, self.of_patches  # noqa: B018 (what is wrong is refused here)

    @cached_property
    def of_labels(self) -> Classification:
        """The classification."""
        own = ("classes", "smoothing", "mixup", "cutmix", "initial", "sown")
        return Classification(model=self.model, **{name: getattr(self, name) for name in own})

    @cached_property
    def of_patches(self) -> MaskedImages:
        """The masked image modelling."""
        own = ("mask", "target", "initial", "sown")
        return MaskedImages(model=self.model, **{name: getattr(self, name) for name in own})

    def init(self, rng, batch):
        """Fresh parameters, and what the target keeps."""
        return self.of_patches.init(rng, batch)

    @property
    def terms(self):
        return {"loss": 1.0, "masked_loss": self.weight}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "loss" and "accuracy" are of the labels, "masked_loss" and the like of hidden patches."""
        first, second = jax.random.split(rng)
        _, labels, _ = self.of_labels.loss(params, {}, batch, first, step=step, train=train)
        _, patches, extra = self.of_patches.loss(params, extra, batch, second, step=step, train=train)
        metrics = dict(labels)
        for name, (x, count) in patches.items():
            if name in labels and "/" in name:  # what parts sow, in both runs of the encoder
                metrics[name] = (labels[name][0] + x, labels[name][1] + count)
            else:
                metrics[name if "/" in name else f"masked_{name}"] = (x, count)
        return total(metrics, self.all_terms), metrics, extra

    def baseline(self, data):
        """As in classification."""
        return self.of_labels.baseline(data)
