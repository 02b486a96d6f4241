"""What the trainer knows of an objective, and what objectives share."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.transforms.redraw import redraw
from xfm.vocabulary import Vocabulary

Params = Mapping[str, Any]
Metrics = dict[str, tuple[Array, Array]]
# predict(function, params, rows): function(params, batch) of every row, in order, as arrays of the host.
Predict = Callable[[Callable[[Params, Mapping[str, Array]], Any], Params, Sequence[Mapping[str, Any]]], Any]


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """A loss over a network.

    model: the network (an objective that trains several builds the others from specs of its own).
    vocabulary: of the data's tokeniser, None without one.
    initial: rules (regex on the path, spec) by which parameters are drawn anew after the parts drew them.
    unit: of the loss.
    evaluated: fields that only evaluation reads, so that they may change between runs of one workdir.
    """

    unit: ClassVar[str] = "nats"
    evaluated: ClassVar[tuple[str, ...]] = ()

    model: nn.Module
    vocabulary: Vocabulary | None = None
    initial: tuple = ()

    def init(self, rng: Array, batch: Mapping[str, Array]) -> tuple[Params, Any]:
        """Fresh parameters, and whatever else the objective keeps between steps (nothing, as a rule)."""
        first, second = jax.random.split(rng)
        params = self.model.init(first, batch)["params"]
        return redraw(params, self.initial, second), {}

    @property
    def terms(self) -> Mapping[str, float]:
        """The metrics whose means, times these weights, add up to the loss.

        Their counts follow from the batch and rng alone, never from parameters. So the counts of a whole batch are
        known before its microbatches run, and accumulated gradients are those of the whole batch.
        """
        return {"loss": 1.0}

    @abc.abstractmethod
    def loss(
        self, params: Params, extra: Any, batch: Mapping[str, Array], rng: Array, train: bool = True
    ) -> tuple[Float[Array, ""], Metrics, Any]:
        """The loss to descend, `total` of the terms; metrics as (sum, count), which add up over batches; the new extra.

        Whatever is random, corruption included, follows from `rng`. metrics["loss"] is what validation watches.
        Where the batch has `weights` [B], each row counts by its weight. A row of weight 0 fills up a batch of an
        evaluation; it holds zeros and neither counts nor changes what other rows count.
        """

    def evaluated_in(self, rows: int) -> tuple["Objective", str | None]:
        """The objective for evaluations in batches of at least so many rows, and a sentence where that changes it.

        Raises XfmError where it cannot be evaluated so.
        """
        return self, None

    def baseline(self, data: Any) -> dict[str, float]:
        """By name, what a predictor that learned almost nothing would score on the validation data."""
        return {}

    def report(self, params: Params, extra: Any, data: Any, predict: Predict) -> dict[str, float]:
        """By name, scores that only the whole validation data has (F1, correlations); asked for once, at the end."""
        return {}

    def examples(self, params: Params, extra: Any, data: Any, predict: Predict) -> list[str]:
        """A few predictions on validation data, one paragraph each, for a person to read."""
        return []


def cross_entropy(logits: Float[Array, "*any V"], labels: Int[Array, "*any"]) -> Float[Array, "*any"]:
    """-log softmax(logits)[label], in nats and float32."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def weighted(values: Float[Array, "*any"], weights: Float[Array, "*any"]) -> tuple[Array, Array]:
    """(sum of weights · values, sum of weights): a metric. What has weight 0 does not count, even if it is NaN."""
    weights = weights.astype(jnp.float32)
    return jnp.where(weights != 0, values * weights, 0.0).sum(), weights.sum()


def row_weights(batch: Mapping[str, Array], shape: Sequence[int]) -> Float[Array, "B *any"]:
    """batch["weights"] [B] for each entry of an array of that shape [B …]; ones where the batch has no weights."""
    if "weights" not in batch:
        return jnp.ones(shape)
    weights = batch["weights"].astype(jnp.float32)
    return jnp.broadcast_to(weights.reshape(-1, *(1,) * (len(shape) - 1)), shape)


def mean(metric: tuple[Array, Array]) -> Float[Array, ""]:
    """The metric's value; 0 of nothing is 0."""
    total, count = metric
    return total / jnp.maximum(count, 1e-6)


def total(metrics: Metrics, terms: Mapping[str, float]) -> Float[Array, ""]:
    """The sum of the terms' means, each times its weight: a loss."""
    return sum(weight * mean(metrics[name]) for name, weight in terms.items())
