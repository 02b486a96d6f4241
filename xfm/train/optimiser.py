"""From plain data to an Optax optimiser: the rule, weight decay, learning-rate groups, freezing and clipping.

The order of one update: clip by global norm -> the optimiser's direction, with weight decay where its paper puts it ->
factor of the parameter's group -> the schedule's learning rate. Schedules are in `schedules.py`.
"""

import abc
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from xfm.errors import XfmError
from xfm.fields import Count, Fraction, NotNegative, Positive, Rate
from xfm.paths import Rules, first_match, flatten, map_by_path, require_matches
from xfm.spec import SpecError, build

Transformation = optax.GradientTransformation

# Which parameters weight decay shrinks, as factors of the optimiser's weight_decay; rules of the
# config are tried first. Matrices and token embeddings decay, as in BERT; positions, biases, scales and
# all other small tensors do not.
DECAY: Rules = (
    (r"position[^/]*/", 0.0),
    (r"(^|/)(kernel|embedding)$|(^|/)head[^/]*/table$", 1.0),
    (r"", 0.0),
)

# Parameters of a scanned stack, which have one leading axis (depth) more than in their layer.
# Optimisers that measure whole tensors (LAMB, Adafactor) measure each layer on its own.
STACKED = r"(^|/)layers/"


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """An Optax transformation with its schedule and the paths of the parameters it leaves alone.

    update(gradients, state, params, step=…): the learning rate is the schedule's at that step of the run, so that steps
    whose update is skipped count as well, and the schedule ends with the run.
    """

    init: Callable
    update: Callable
    schedule: Callable
    frozen: frozenset[str]


def build_optimiser(
    spec: Mapping[str, Any],
    schedule: Callable,
    params: Any,
    *,
    decay: Rules = (),
    groups: Rules = (),
    freeze: Sequence[str] = (),
    train_only: Sequence[str] = (),
    clip: float | None = None,
    speed: Mapping[str, Any] = MappingProxyType({}),
) -> Optimiser:
    """The optimiser of `params` (arrays or their shapes).

    decay: (regex, factor of weight_decay) before the default DECAY.  groups: (regex, factor of the
    learning rate); a list of factors is one per layer of a stack.
    freeze: regexes of parameters that get no update and no optimiser state.  train_only: regexes of the only ones that
    do. At least one of the two is empty.  clip: largest global norm of the gradient, over the parameters that train.
    speed: path -> further factor of the learning rate, a number or one per layer, as layer-wise decay makes them.
    Raises XfmError for a pattern that matches nothing, or an unknown kind or field.
    """
    leaves = flatten(params)
    require_matches("decay", [regex for regex, _ in decay], leaves)
    require_matches("groups", [regex for regex, _ in groups], leaves)
    frozen = frozen_paths(leaves, freeze, train_only)
    if len(frozen) == len(leaves):
        raise XfmError("config.freeze leaves no parameter to train")
    try:
        rule = build(OPTIMISERS, spec)
    except SpecError as error:
        raise XfmError(f"config.optimiser: {error}") from None

    shrink = {path: first_match(path, (*decay, *DECAY)) * rule.weight_decay for path in leaves}
    rates = {
        path: _factor(path, leaf, first_match(path, groups, 1.0)) * _factor(path, leaf, speed.get(path, 1.0))
        for path, leaf in leaves.items()
    }
    transform = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        rule.direction(_stateless(lambda path, u, p: u + shrink[path] * p if shrink[path] else u)),
        _stateless(lambda path, u, p: u * rates[path]) if groups or speed else optax.identity(),
        _scheduled(schedule),
    )
    if frozen:
        labels = map_by_path(lambda path, _: "frozen" if path in frozen else "trained", params)
        transform = optax.partition({"trained": transform, "frozen": optax.set_to_zero()}, labels)
    return Optimiser(transform.init, transform.update, schedule, frozenset(frozen))


def frozen_paths(paths: Iterable[str], freeze: Sequence[str], train_only: Sequence[str]) -> set[str]:
    """The paths that `freeze` matches, or all that `train_only` does not; none where both are empty.

    Raises XfmError where both are given, and for a regex that is found in no path.
    """
    paths = list(paths)
    require_matches("freeze", freeze, paths)
    require_matches("train_only", train_only, paths)
    if freeze and train_only:
        raise XfmError(
            "config.freeze names what does not train and config.train_only what does; set one of them, and the other "
            "to ()"
        )
    regexes, found = (freeze, True) if freeze else (train_only, False)
    return {path for path in paths if any(re.search(regex, path) for regex in regexes) == found} if regexes else set()


def _factor(path: str, leaf: Any, factor: Any) -> Any:
    """A scalar, or one value per layer shaped to multiply a leaf [depth ...]."""
    if not isinstance(factor, Sequence):
        return factor
    if leaf.ndim == 0 or len(factor) != leaf.shape[0]:
        raise XfmError(
            f"config.groups gives {len(factor)} factors to {path} of shape {tuple(leaf.shape)}; "
            "a list has one factor per layer of the stack"
        )
    return jnp.reshape(jnp.array(factor, jnp.float32), (-1,) + (1,) * (leaf.ndim - 1))


def _scheduled(schedule: Callable) -> optax.GradientTransformationExtraArgs:
    """Updates times minus the schedule's rate at the step that `update` is given."""

    def update(updates, state, params=None, *, step, **_):
        rate = -schedule(step)
        return jax.tree.map(lambda u: jnp.array(rate, u.dtype) * u, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _stateless(function: Callable) -> Transformation:
    return optax.stateless(lambda updates, params: map_by_path(function, updates, params))


def each_layer(transform: Transformation) -> Transformation:
    """`transform`, applied to every layer of a stacked parameter on its own."""

    def label(path, leaf):
        return leaf.shape[0] if first_match(path, [(STACKED, True)]) else 0

    def parts(tree):
        labels = map_by_path(label, tree)
        layered = Transformation(
            lambda p: jax.vmap(transform.init)(p),
            lambda u, s, p: jax.vmap(transform.update)(u, s, p),
        )
        kinds = {d: layered if d else transform for d in sorted(set(jax.tree.leaves(labels)))}
        return optax.partition(kinds, labels)

    return Transformation(
        lambda params: parts(params).init(params),
        lambda updates, state, params: parts(params).update(updates, state, params),
    )


class Rule(abc.ABC):
    """Abstract. How gradients become a direction; each rule has a field `weight_decay`."""

    @abc.abstractmethod
    def direction(self, decay: Transformation) -> Transformation:
        """The transformation of gradients to the direction of an update.

        decay: the transformation that adds weight decay, for the place where the rule has it.
        """


@dataclasses.dataclass(frozen=True)
class AdamW(Rule):
    """Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (2019)."""

    b1: Rate = 0.9
    b2: Rate = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.01

    def direction(self, decay: Transformation) -> Transformation:
        return optax.chain(optax.scale_by_adam(self.b1, self.b2, self.eps), decay)


@dataclasses.dataclass(frozen=True)
class Adam(Rule):
    """Kingma & Ba (2015); weight decay, if any, is an L2 penalty, whose gradient enters both moments."""

    b1: Rate = 0.9
    b2: Rate = 0.999
    eps: Positive = 1e-8
    weight_decay: NotNegative = 0.0

    def direction(self, decay: Transformation) -> Transformation:
        return optax.chain(decay, optax.scale_by_adam(self.b1, self.b2, self.eps))


@dataclasses.dataclass(frozen=True)
class Lamb(Rule):
    """You et al., "Large Batch Optimization for Deep Learning" (2020): AdamW, rescaled to each layer's norm."""

    b1: Rate = 0.9
    b2: Rate = 0.999
    eps: Positive = 1e-6
    weight_decay: NotNegative = 0.01

    def direction(self, decay: Transformation) -> Transformation:
        trust = each_layer(optax.scale_by_trust_ratio())
        return optax.chain(optax.scale_by_adam(self.b1, self.b2, self.eps), decay, trust)


@dataclasses.dataclass(frozen=True)
class Lion(Rule):
    """Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023); it needs about a tenth of AdamW's rate."""

    b1: Rate = 0.9
    b2: Rate = 0.99
    weight_decay: NotNegative = 0.1

    def direction(self, decay: Transformation) -> Transformation:
        return optax.chain(optax.scale_by_lion(self.b1, self.b2), decay)


@dataclasses.dataclass(frozen=True)
class Sgd(Rule):
    """Gradient descent with momentum, `momentum_kind` "heavy_ball" or "nesterov"; weight decay is an L2 penalty.

    Without momentum it keeps no state.
    """

    momentum: Rate = 0.9
    momentum_kind: Literal["heavy_ball", "nesterov"] = "heavy_ball"
    weight_decay: NotNegative = 0.0

    def direction(self, decay: Transformation) -> Transformation:
        if self.momentum == 0:
            return decay  # and no array of the parameters' size
        return optax.chain(decay, optax.trace(self.momentum, self.momentum_kind == "nesterov"))


@dataclasses.dataclass(frozen=True)
class Adafactor(Rule):
    """Shazeer & Stern (2018), with relative step sizes (times the parameter's RMS) and the
    schedule's rate.

    Second moments of matrices with both sides of at least `smallest` are kept as one row and one
    column. Weight decay is decoupled and scaled by the learning rate, as in AdamW.
    """

    decay_rate: Fraction = 0.8
    threshold: Positive = 1.0
    smallest: Count = 128
    momentum: Rate | None = None
    weight_decay: NotNegative = 0.0

    def direction(self, decay: Transformation) -> Transformation:
        scale = optax.chain(
            optax.scale_by_factored_rms(decay_rate=self.decay_rate, min_dim_size_to_factor=self.smallest),
            optax.clip_by_block_rms(self.threshold),
            optax.scale_by_param_block_rms(),
        )
        momentum = optax.ema(self.momentum, debias=False) if self.momentum else optax.identity()
        return optax.chain(each_layer(scale), momentum, decay)


OPTIMISERS = {
    "adamw": AdamW,
    "adam": Adam,
    "lamb": Lamb,
    "lion": Lion,
    "sgd": Sgd,
    "adafactor": Adafactor,
}
