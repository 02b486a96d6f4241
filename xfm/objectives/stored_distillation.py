"""Classification by what a teacher answered before: its largest probabilities, stored with the data.

Wu et al. 2022 (TinyViT), section 3.1, equations 2 and 3: no network of a teacher runs, and no label is read.
"""

import dataclasses
from functools import cached_property

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.fields import CountOrZero
from xfm.objectives.base import Objective, answer, array_of, row_weights, weighted
from xfm.objectives.classification import Classification, of_classes, require_classes


def sparse(logits: Float[Array, "B n"], kept: int) -> tuple[Float[Array, "B kept"], Int[Array, "B kept"]]:
    """The largest probabilities of softmax(logits), from the largest on, and the classes that have them."""
    return jax.lax.top_k(jax.nn.softmax(logits.astype(jnp.float32)), kept)


def dense(shares: Float[Array, "B kept"], classes: Int[Array, "B kept"], count: int) -> Float[Array, "B count"]:
    """The shares at their classes, and what they lack of 1 evenly at the others.  count: of all classes.

    Of classes that are given twice the shares are added up. What is spread is never negative, as it could be after
    shares were rounded.
    """
    rows, kept = jnp.arange(len(shares))[:, None], shares.shape[1]
    shares = shares.astype(jnp.float32)
    rest = jnp.maximum(1.0 - shares.sum(-1, keepdims=True), 0.0) / max(count - kept, 1)
    stored = jnp.zeros((len(shares), count)).at[rows, classes].add(shares)
    named = jnp.zeros((len(shares), count), bool).at[rows, classes].set(True)
    return jnp.where(named, stored, rest)


@dataclasses.dataclass(frozen=True)
class StoredDistillation(Objective):
    """Cross-entropy of the head "label" with a stored distribution.

    It is that of batch["taught/shares"] [B kept] at batch["taught/classes"] [B kept]; see `dense`.
    classes: of the teacher and the head. The data is of kind "taught", whose rows of validation have their label as
    the whole distribution, so that the loss of validation is the cross-entropy with the labels.
    """

    classes: CountOrZero = 0

    def __post_init__(self):
        self.plain  # noqa: B018 (checks classes)

    @cached_property
    def plain(self) -> Classification:
        """The same with labels."""
        return Classification(model=self.model, classes=self.classes)

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "accuracy" is of the labels, "agreement" of the teacher's likeliest class."""
        hard, shares, named = (array_of(batch, name) for name in ("labels", "taught/shares", "taught/classes"))
        out, sown = self.forward("model", params, batch, rng, train)
        logits = of_classes(answer(out, "label")).astype(jnp.float32)
        require_classes(logits, self.classes)
        wanted, weights = dense(shares, named, self.classes), row_weights(batch, hard.shape)
        metrics = {
            "loss": weighted(-(wanted * jax.nn.log_softmax(logits)).sum(-1), weights),
            "accuracy": weighted(logits.argmax(-1) == hard, weights),
            "agreement": weighted(logits.argmax(-1) == wanted.argmax(-1), weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """As in classification."""
        return self.plain.baseline(data)
