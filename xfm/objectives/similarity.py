"""Texts and images that belong together, told from all others of the batch: the losses of CLIP and of SigLIP.

Radford et al. 2021 (CLIP), figure 3: a softmax over the images for each text, and over the texts for each image.
Zhai et al. 2023 (SigLIP), algorithm 1: a sigmoid for each pair of a text and an image.
"""

import dataclasses
import math
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from xfm.errors import XfmError
from xfm.fields import TwoOrMore
from xfm.objectives.base import Objective, row_weights, weighted
from xfm.objectives.contrast import candidates


def softmax_loss(logits: Float[Array, "B B"], near: Bool[Array, "B B"]) -> Float[Array, "B"]:
    """-log softmax of each row's own logit among its candidates, the mean of both directions.

    near: which columns are candidates of a row, and so which rows are those of a column.
    """
    own = jnp.diagonal(logits)
    across, down = (jax.nn.logsumexp(jnp.where(near, one, -jnp.inf), axis=1) for one in (logits, logits.T))
    return (across + down) / 2 - own


def sigmoid_loss(logits: Float[Array, "B B"], near: Bool[Array, "B B"]) -> Float[Array, "B"]:
    """-log sigmoid of the own logit, and of the negative of each other candidate's, added up over each row."""
    signs = 2 * jnp.eye(len(logits)) - 1
    return jnp.where(near, jax.nn.softplus(-signs * logits), 0).sum(1)


FORMS = {"softmax": softmax_loss, "sigmoid": sigmoid_loss}


@dataclasses.dataclass(frozen=True)
class Similarity(Objective):
    """The network is of structure `towers`, with two towers; row i of one belongs to row i of the other.

    form: "softmax" (CLIP) or "sigmoid" (SigLIP).
    among: the number of rows among which a row is told in validation, so that its loss does not depend on the batch; at
      most as many as the smallest evaluated batch has. In training all rows of the batch are candidates.
    """

    evaluated: ClassVar[tuple[str, ...]] = ("among",)

    form: Literal["softmax", "sigmoid"] = "softmax"
    among: TwoOrMore = 16

    def __post_init__(self):
        if len(getattr(self.model, "prefixes", ())) != 2:
            raise XfmError("similarity compares two towers; set config.model to a network of kind 'towers' with two")

    def init(self, rng, batch):
        """The parameters of both towers, and of how they are compared."""
        return super().init(rng, self._towers(batch))

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of rows whose own logit is the largest."""
        out, sown = self.forward("model", params, self._towers(batch), rng, train)
        logits = out[f"{self.model.prefixes[1]}/similarity"]
        real = batch["weights"] > 0 if "weights" in batch else None
        near = candidates(len(logits), real, None if train else self.among)
        weights = row_weights(batch, (len(logits),))
        shown = jnp.where(near, logits, -jnp.inf)
        best = (~(shown < jnp.diagonal(logits)[:, None])).sum(1) == 1  # itself alone: equal vectors predict nothing
        metrics = {"loss": weighted(FORMS[self.form](logits, near), weights), "accuracy": weighted(best, weights)}
        return *self.summed(metrics, batch, sown), extra

    def evaluated_in(self, rows):
        """The objective whose `among` is at most `rows`; XfmError for batches of a single row."""
        if self.among <= rows:
            return self, None
        if rows < 2:
            raise XfmError(
                "similarity: a validation row is told from the others of its batch, and here some batch has a single "
                "row; give more validation data, or raise config.batch"
            )
        return dataclasses.replace(self, among=rows), (
            f"config.objective.among is {self.among} and a batch of the validation data has {rows} rows: a validation "
            f"row is told among {rows}"
        )

    def baseline(self, data):
        """The loss of giving each pair the same chance: 1 of `among`."""
        n = self.among
        others = (n - 1) * math.log(n / (n - 1)) if self.form == "sigmoid" else 0.0
        return {"chance": float(np.log(n) + others)}

    def _towers(self, batch):
        """The arrays that the towers read, without weights and labels."""
        return {name: x for name, x in batch.items() if name.rpartition("/")[0] in self.model.prefixes}
