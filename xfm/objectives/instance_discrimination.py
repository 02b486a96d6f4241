"""Instance discrimination: each training row is a class of its own, whose number is predicted.

Ibrahim, Klindt, Balestriero, "Occam's Razor for Self Supervised Learning: What is Sufficient to Learn Good
Representations?" (2024), whose DIET (Balestriero 2023) has no projector, no pairs and no teacher.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.errors import XfmError
from xfm.fields import CountOrZero, Rate
from xfm.objectives.base import Objective, answer, array_of, cross_entropy, row_weights, weighted


def smoothed(logits: Float[Array, "*any N"], labels: Int[Array, "*any"], smoothing: float) -> Float[Array, "*any"]:
    """Cross-entropy, in nats and float32, with labels of which the share `smoothing` is spread evenly over N classes.

    (1 - smoothing) · -log softmax(logits)[label] + smoothing · the mean of -log softmax(logits), without an array of
    labels [*any N] (Szegedy et al. 2016, section 7).
    """
    logits = logits.astype(jnp.float32)
    spread = jax.nn.logsumexp(logits, axis=-1) - logits.mean(-1)
    return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * spread


@dataclasses.dataclass(frozen=True)
class InstanceDiscrimination(Objective):
    """Cross-entropy, in nats, of the head "row" with batch["row"], the numbers that data of kind "numbered" has.

    rows: N, the number of training rows, of each of which the head has a score.  smoothing: share of a label's weight
    that is spread over all rows, in training.  Rows with the number -1, which are held out, do not count.
    """

    rows: CountOrZero = 0
    smoothing: Rate = 0.8

    def __post_init__(self):
        if self.rows < 2:
            raise XfmError(
                f"instance_discrimination: set rows to the number of training rows, 2 or more; it is {self.rows}"
            )

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. Beside "loss" there is "accuracy", the share of rows that are recognised."""
        row = array_of(batch, "row")
        out, sown = self.forward("model", params, batch, rng, train)
        logits = answer(out, "row")
        if logits.shape[-1] != self.rows:
            raise XfmError(
                f"the head 'row' has {logits.shape[-1]} rows and config.objective.rows is {self.rows}; set both to the "
                "number of training rows"
            )
        weights = row_weights(batch, row.shape) * (row >= 0)
        metrics = {
            "loss": weighted(smoothed(logits, row.clip(0), self.smoothing if train else 0.0), weights),
            "accuracy": weighted(logits.argmax(-1) == row, weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """The cross-entropy of scores that are equal for all rows.

        Raises XfmError if the data has another number of training rows than the objective.
        """
        if (found := len(data.train)) != self.rows:
            raise XfmError(
                f"the data has {found} training rows and config.objective.rows is {self.rows}; set it, and the rows of "
                f"the head 'row', to {found}"
            )
        return {"uniform": math.log(self.rows)}
