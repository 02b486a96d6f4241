"""A curriculum of image sizes around any objective: images are cropped to low frequencies, fewer of them at first.

Wang et al., "EfficientTrain" (2023), section 4.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from xfm.augment.frequency import low_frequencies
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.objectives.base import Objective, array_of
from xfm.spec import Spec, SpecError, build


@dataclasses.dataclass(frozen=True)
class Curriculum(Objective):
    """The loss of `objective` on the low frequencies of its images; evaluation sees them whole.

    objective: spec of the objective.  stages: pairs (first step, side of the cropped images in pixels), in order, from
    step 0 on. One program holds every stage, and a step computes only its own.
    """

    objective: Spec = FrozenDict()
    stages: Sequence[tuple[CountOrZero, Count]] = ()

    def __post_init__(self):
        starts = [start for start, _ in self.stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise SpecError(f"curriculum: stages are pairs (first step, side) from step 0 on; they are {self.stages!r}")

    @cached_property
    def inner(self) -> Objective:
        """The objective inside."""
        own = dict(model=self.model, vocabulary=self.vocabulary, initial=self.initial)
        return build("objective", {**self.objective, "sown": self.sown}, **own)

    @property
    def networks(self):
        return self.inner.networks

    @property
    def terms(self):
        return self.inner.terms

    def init(self, rng, batch):
        return self.inner.init(rng, batch)

    def params_of(self, name, params):
        return self.inner.params_of(name, params)

    def side(self, step: int) -> int:
        """The side of the images at a step."""
        return [side for start, side in self.stages if start <= step][-1]

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        """As in Objective. In training there is also the metric "side", that of the images."""
        if not train:
            return self.inner.loss(params, extra, batch, rng, step=step, train=False)
        images = array_of(batch, "images")
        if (most := max(side for _, side in self.stages)) > min(images.shape[1:3]):
            raise XfmError(f"curriculum: a stage has a side of {most}, and images have {images.shape[1:3]}; lower it")

        def of(side):
            def stage(params, extra):
                cropped: Mapping[str, Any] = {**batch, "images": low_frequencies(images, side)}
                return self.inner.loss(params, extra, cropped, rng, step=step, train=True)

            return stage

        starts = jnp.array([start for start, _ in self.stages])
        number = jnp.sum(step >= starts) - 1
        loss, metrics, extra = jax.lax.switch(number, [of(side) for _, side in self.stages], params, extra)
        sides = jnp.array([side for _, side in self.stages], jnp.float32)
        return loss, {**metrics, "side": (sides[number], jnp.float32(1.0))}, extra

    def after_update(self, params, extra, step):
        return self.inner.after_update(params, extra, step)

    def baseline(self, data):
        return self.inner.baseline(data)
