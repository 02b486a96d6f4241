"""Learning rates over the steps of a run: a linear warm-up from 0 to `peak`, then the curve of the kind.

`steps` is the length of the run; the loop fills it in from config.steps unless the spec gives it.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
import optax

from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, NotNegative
from xfm.spec import SpecError, build


def build_schedule(spec: Mapping[str, Any], steps: int) -> Callable:
    """step -> learning rate, a float32 scalar.  Raises XfmError for unknown kinds or fields, or impossible lengths."""
    try:
        rule = build(SCHEDULES, {"steps": steps, **spec})
    except SpecError as error:
        raise XfmError(f"config.schedule: {error}") from None
    if not 0 <= rule.warmup <= rule.steps:
        raise XfmError(f"config.schedule: warmup is {rule.warmup} steps of {rule.steps}; it must lie within the run")
    return optax.join_schedules(
        [optax.linear_schedule(0.0, rule.peak, rule.warmup), rule.after_warmup()], [rule.warmup]
    )


@dataclasses.dataclass(frozen=True)
class Schedule(abc.ABC):
    """Abstract. steps: length of the run.  peak: learning rate after the warm-up.  warmup: number of its steps."""

    steps: Count
    peak: NotNegative = 1e-3
    warmup: CountOrZero = 0

    @abc.abstractmethod
    def after_warmup(self) -> Callable:
        """A function from the number of steps after the warm-up to the learning rate.

        Raises XfmError if its phases do not fit into the run.
        """


@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """`peak` until the end."""

    def after_warmup(self) -> Callable:
        return optax.constant_schedule(self.peak)


@dataclasses.dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from `peak` to `end` at the last step, as BERT was trained."""

    end: NotNegative = 0.0

    def after_warmup(self) -> Callable:
        return optax.linear_schedule(self.peak, self.end, max(self.steps - self.warmup, 1))


@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `peak` to `end` at the last step (Loshchilov & Hutter, SGDR, 2017, without restarts)."""

    end: NotNegative = 0.0

    def after_warmup(self) -> Callable:
        falling = optax.cosine_decay_schedule(1.0, max(self.steps - self.warmup, 1))
        return lambda step: self.end + (self.peak - self.end) * falling(step)


@dataclasses.dataclass(frozen=True)
class Wsd(Schedule):
    """Warm-up, stable, decay: `peak` until the last `decay` steps (a tenth of the run if None), which fall to `end`.

    shape: "linear", or "sqrt" for 1 - sqrt (Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations", 2024). The stable part does not depend on `steps`, so a run may be prolonged.
    """

    decay: Count | None = None
    end: NotNegative = 0.0
    shape: Literal["linear", "sqrt"] = "linear"

    def after_warmup(self) -> Callable:
        """As in Schedule. Raises XfmError if warm-up and decay are longer than the run."""
        decay = max(self.steps // 10, 1) if self.decay is None else self.decay
        stable = self.steps - self.warmup - decay
        if stable < 0:
            raise XfmError(
                f"config.schedule: wsd needs warmup {self.warmup} + decay {decay} <= steps {self.steps}; lower one"
            )
        power = {"linear": 1.0, "sqrt": 0.5}[self.shape]

        def rate(step):
            part = jnp.clip((step - stable) / decay, 0.0, 1.0)
            return self.peak + (self.end - self.peak) * part**power

        return rate


@dataclasses.dataclass(frozen=True)
class Milestones(Schedule):
    """`peak`, times `factor` from each of the steps `at` on, which are counted from the start of the run."""

    at: tuple[Count, ...] = ()
    factor: NotNegative = 0.1

    def after_warmup(self) -> Callable:
        """As in Schedule. Raises XfmError for a milestone within the warm-up or after the run."""
        if any(not self.warmup < step < self.steps for step in self.at):
            raise XfmError(
                f"config.schedule: milestones at {tuple(self.at)} must lie between warmup {self.warmup} and steps "
                f"{self.steps}"
            )
        return optax.piecewise_constant_schedule(self.peak, {step - self.warmup: self.factor for step in self.at})


@dataclasses.dataclass(frozen=True)
class Rsqrt(Schedule):
    """peak · sqrt(t / (t + step - warmup)), with t = `timescale` or else `warmup` (Zhai et al., 2022).

    The curve does not depend on the length of the run, but the last `cooldown` steps fall linearly to 0.
    """

    timescale: Count | None = None
    cooldown: CountOrZero = 0

    def after_warmup(self) -> Callable:
        """As in Schedule. Raises XfmError if warm-up and cooldown are longer than the run."""
        scale = self.timescale or max(self.warmup, 1)
        length = self.steps - self.warmup
        if self.cooldown > length:
            raise XfmError(
                f"config.schedule: rsqrt needs warmup {self.warmup} + cooldown {self.cooldown} <= steps {self.steps}; "
                "lower one"
            )

        def rate(step):
            left = jnp.clip((length - step) / self.cooldown, 0.0, 1.0) if self.cooldown else 1.0
            return self.peak * jnp.sqrt(scale / (scale + jnp.maximum(step, 0))) * left

        return rate


SCHEDULES = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "wsd": Wsd,
    "rsqrt": Rsqrt,
    "milestones": Milestones,
}
