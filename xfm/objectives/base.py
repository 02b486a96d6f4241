"""What the trainer knows of an objective, and what objectives share."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.transforms.redraw import redraw
from xfm.vocabulary import Vocabulary

Params = Mapping[str, Any]
Metrics = dict[str, tuple[Array, Array]]


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """A loss over a network.

    model: the network (an objective that trains several builds the others from specs of its own).
    vocabulary: of the data's tokeniser, None without one.
    initial: rules (regex on the path, spec) by which parameters are drawn anew after the parts drew them.
    unit: of the loss.
    """

    unit: ClassVar[str] = "nats"

    model: nn.Module
    vocabulary: Vocabulary | None = None
    initial: tuple = ()

    def init(self, rng: Array, batch: Mapping[str, Array]) -> tuple[Params, Any]:
        """Fresh parameters, and whatever else the objective keeps between steps (nothing, as a rule)."""
        first, second = jax.random.split(rng)
        params = self.model.init(first, batch)["params"]
        return redraw(params, self.initial, second), {}

    @abc.abstractmethod
    def loss(
        self, params: Params, extra: Any, batch: Mapping[str, Array], rng: Array, train: bool = True
    ) -> tuple[Float[Array, ""], Metrics, Any]:
        """The loss to descend; metrics as (sum, count), which add up exactly over batches; the new extra.

        Whatever is random, corruption included, follows from `rng`. metrics["loss"] is what validation watches.
        """

    def baseline(self, data: Any) -> dict[str, float]:
        """By name, what a predictor that learned almost nothing would score on the validation data."""
        return {}

    def report(self, params: Params, extra: Any, data: Any) -> dict[str, float]:
        """By name, scores that only the whole validation data has (F1, correlations); asked for once, at the end."""
        return {}

    def examples(self, params: Params, extra: Any, data: Any) -> list[str]:
        """A few predictions on validation data, one paragraph each, for a person to read."""
        return []


def cross_entropy(logits: Float[Array, "*any V"], labels: Int[Array, "*any"]) -> Float[Array, "*any"]:
    """-log softmax(logits)[label], in nats and float32."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def weighted(values: Float[Array, "*any"], weights: Float[Array, "*any"]) -> tuple[Array, Array]:
    """(sum of weights · values, sum of weights): a metric."""
    weights = weights.astype(jnp.float32)
    return (values * weights).sum(), weights.sum()


def mean(metric: tuple[Array, Array]) -> Float[Array, ""]:
    """The metric's value; 0 of nothing is 0."""
    total, count = metric
    return total / jnp.maximum(count, 1e-6)
