"""Classification by the labels and by a teacher: Touvron et al. 2021 (DeiT), section 4; Hinton, Vinyals, Dean 2015."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Float

from xfm.fields import CountOrZero, NotNegative, Positive, Rate, Share
from xfm.objectives.base import Objective, answer, array_of, cross_entropy, row_weights, weighted
from xfm.objectives.classification import Classification, of_classes, require_classes
from xfm.objectives.teachers import require_teacher
from xfm.structures import build


def soft(logits: Float[Array, "B n"], taught: Float[Array, "B n"], temperature: float) -> Float[Array, "B"]:
    """τ² · KL(teacher, student), both divided by τ. Touvron et al. 2021, equation 2."""
    wanted = jax.nn.softmax(taught.astype(jnp.float32) / temperature)
    apart = jax.nn.log_softmax(taught.astype(jnp.float32) / temperature) - jax.nn.log_softmax(
        logits.astype(jnp.float32) / temperature
    )
    return temperature**2 * (wanted * apart).sum(-1)


@dataclasses.dataclass(frozen=True)
class Distillation(Objective):
    """(1 - share) · the cross-entropy of the head "label" + share · what the head `taught` learns of a teacher.

    The teacher reads the same images, is never trained, and is kept in extra["teacher"].
    teacher: {"source": a checkpoint, a name on the Hub or the workdir of a run}, whose network and weights it then has,
    or {"network": spec}, for a teacher of random weights.  read: its head with the logits.
    form: "hard" for the cross-entropy with the teacher's likeliest class (share 0.5: DeiT, equation 3), "soft" for the
    divergence of both distributions at `temperature` (share 0.1 there).
    taught: the head that learns from the teacher, that of the distillation token or "label" for both.
    classes, smoothing, mixup, cutmix: as in `classification`.
    """

    classes: CountOrZero = 0
    teacher: Mapping[str, Any] = FrozenDict()
    read: str = "label"
    taught: str = "distillation"
    form: Literal["hard", "soft"] = "hard"
    share: Share = 0.5
    temperature: Positive = 3.0
    smoothing: Rate = 0.0
    mixup: NotNegative = 0.0
    cutmix: NotNegative = 0.0

    def __post_init__(self):
        require_teacher("distillation", self.teacher)
        self.plain  # noqa: B018 (checks classes)

    @cached_property
    def plain(self) -> Classification:
        """The same without a teacher."""
        own = ("classes", "smoothing", "mixup", "cutmix", "initial", "sown")
        return Classification(model=self.model, **{name: getattr(self, name) for name in own})

    @cached_property
    def networks(self):
        return {"model": self.model, "teacher": build(self.teacher["network"])}

    def init(self, rng, batch):
        """Fresh parameters, and as extra["teacher"] the teacher's: random until a run puts its source's there."""
        first, second = jax.random.split(rng)
        params, extra = super().init(first, batch)
        return params, {**extra, "teacher": self.networks["teacher"].init(second, batch)["params"]}

    @property
    def terms(self):
        return {"loss": 1.0 - self.share, "taught_loss": self.share}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. "loss" and "accuracy" are of the labels, "taught_loss" and "agreement" of the teacher."""
        mix, drop = jax.random.split(rng)
        hard = array_of(batch, "labels")
        batch, labels = self.plain.labelled(batch, mix, train)
        out, sown = self.forward("model", params, batch, drop, train)
        logits, of_teacher = (answer(out, name) for name in ("label", self.taught))
        seen, _ = self.forward("teacher", extra["teacher"], batch)
        wanted = jax.lax.stop_gradient(of_classes(answer(seen, self.read)))
        for made in (logits, of_teacher, wanted):
            require_classes(made, self.classes)
        each = (
            soft(of_teacher, wanted, self.temperature)
            if self.form == "soft"
            else cross_entropy(of_teacher, wanted.argmax(-1))
        )
        weights = row_weights(batch, hard.shape)
        both = jax.nn.softmax(logits.astype(jnp.float32)) + jax.nn.softmax(of_teacher.astype(jnp.float32))
        metrics = {
            "loss": weighted(-(labels * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1), weights),
            "taught_loss": weighted(each, weights),
            "accuracy": weighted(both.argmax(-1) == hard, weights),
            "agreement": weighted(of_teacher.argmax(-1) == wanted.argmax(-1), weights),
        }
        return *self.summed(metrics, batch, sown), extra

    def baseline(self, data):
        """As in classification."""
        return self.plain.baseline(data)
