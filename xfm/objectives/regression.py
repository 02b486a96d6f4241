"""A number for each input, such as two sentences' similarity. Cer et al. 2017 (STS-B), as in Devlin et al. 2019."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from xfm.objectives.base import Objective, answer, array_of, row_weights, weighted


@dataclasses.dataclass(frozen=True)
class Regression(Objective):
    """Squared error of the head "label", which has one class, against batch["labels"]."""

    unit: ClassVar[str] = "squared"

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective, with the metric "loss" alone."""
        out, sown = self.forward("model", params, batch, rng, train)
        predicted = answer(out, "label")[:, 0].astype(jnp.float32)
        labels = array_of(batch, "labels").astype(jnp.float32)
        metrics = {"loss": weighted((predicted - labels) ** 2, row_weights(batch, labels.shape))}
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The squared error of always answering with the training data's mean."""
        known, seen = (
            np.array([array_of(s[i], "labels") for i in range(len(s))], np.float64) for s in (data.train, data.valid)
        )
        return {"mean": float(((seen - known.mean()) ** 2).mean())}
