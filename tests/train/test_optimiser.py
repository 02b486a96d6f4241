"""Optimisers and schedules against Optax's own, and the rules on paths against what they say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xfm.errors import XfmError
from xfm.paths import first_match, flatten
from xfm.train.optimiser import DECAY, OPTIMISERS, Optimiser, build_optimiser
from xfm.train.schedules import SCHEDULES, build_schedule


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    normal, ones = (lambda *shape: rng.normal(size=shape).astype(np.float32)), partial(np.ones, dtype=np.float32)
    layers = dict(up=dict(kernel=normal(2, 4, 8), bias=ones((2, 8))), norm=dict(scale=ones((2, 4))))
    embed = dict(token=dict(embedding=normal(5, 4)), position=dict(embedding=normal(6, 4)))
    head = dict(kernel=normal(4, 3), bias=np.zeros(3, np.float32))
    return dict(embed=embed, layers=layers, head=head)


def gradients(params, seed):
    rng = np.random.default_rng(100 + seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)


def run(optimiser, params, steps=4, gradients=gradients):
    """Parameters after some steps with fixed gradients."""
    ours = isinstance(optimiser, Optimiser)
    update = optimiser.update if ours else optax.with_extra_args_support(optimiser).update

    @jax.jit
    def one(grads, state, params, step):
        updates, state = update(grads, state, params, step=step)
        return optax.apply_updates(params, updates), state

    state = jax.jit(optimiser.init)(params)
    for seed in range(steps):
        params, state = one(gradients(params, seed), state, params, seed)
    return jax.device_get((params, state))


def assert_same(a, b, tolerance=2e-6):
    for (path, x), y in zip(flatten(a).items(), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=path)


def decays(params):
    return jax.tree.unflatten(jax.tree.structure(params), [first_match(p, DECAY) == 1.0 for p in flatten(params)])


REFERENCES = {
    "adamw": lambda lr, mask: optax.adamw(lr, weight_decay=0.1, mask=mask),
    "lion": lambda lr, mask: optax.lion(lr, weight_decay=0.1, mask=mask),
    "sgd": lambda lr, mask: optax.chain(optax.add_decayed_weights(0.1, mask), optax.sgd(lr, momentum=0.9)),
    "adam": lambda lr, mask: optax.chain(optax.add_decayed_weights(0.1, mask), optax.adam(lr)),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_equals_optax(kind, params):
    schedule = build_schedule(dict(kind="cosine", peak=0.1, warmup=2), 4)
    ours = build_optimiser(dict(kind=kind, weight_decay=0.1), schedule, params)
    theirs = REFERENCES[kind](schedule, decays(params))
    assert_same(run(ours, params)[0], run(theirs, params)[0])


def per_layer(params, i):
    return jax.tree.map(lambda x: x[i], params["layers"])


@pytest.mark.parametrize("kind", ["lamb", "adafactor"])
def test_measures_each_layer_of_a_stack_on_its_own(kind, params):
    """A stack of two layers trains as the two layers do outside a stack."""
    spec = dict(kind=kind, weight_decay=0.1) | (dict(smallest=3) if kind == "adafactor" else {})
    schedule = optax.constant_schedule(0.1)
    whole, _ = run(build_optimiser(spec, schedule, params), params)
    separate = {"one": per_layer(params, 0), "two": per_layer(params, 1)}

    def of_layers(_, seed):
        grads = gradients(params, seed)
        return {"one": per_layer(grads, 0), "two": per_layer(grads, 1)}

    separate, _ = run(build_optimiser(spec, schedule, separate), separate, gradients=of_layers)
    assert_same(per_layer(whole, 0), separate["one"])
    assert_same(per_layer(whole, 1), separate["two"])


def test_lamb_equals_optax_without_a_stack(params):
    params = {"head": params["head"], "embed": params["embed"]}
    ours = build_optimiser(dict(kind="lamb", weight_decay=0.1), optax.constant_schedule(0.1), params)
    theirs = optax.lamb(0.1, weight_decay=0.1, mask=decays(params))
    assert_same(run(ours, params)[0], run(theirs, params)[0])


@pytest.mark.parametrize("kind", sorted(set(OPTIMISERS) - {"adam"}))  # its moments hide the decay
def test_default_decay_shrinks_matrices_only(kind, params):
    """With zero gradients only weight decay moves a parameter."""
    optimiser = build_optimiser(dict(kind=kind, weight_decay=0.5), optax.constant_schedule(0.1), params)
    zeros = jax.tree.map(np.zeros_like, params)
    updates = jax.jit(lambda p: optimiser.update(zeros, optimiser.init(p), p, step=0)[0])(params)
    moved = {path for path, u in flatten(updates).items() if np.abs(np.asarray(u)).max() > 0}
    assert moved == {"embed/token/embedding", "layers/up/kernel", "head/kernel"}


# Which parameters decay by default, by paths as networks have them.
DECAYS = {
    "embed/word/embedding": True,
    "embed/type/embedding": True,
    "embed/position/table": False,
    "position/table": False,
    "layers/attention_0/part/q/kernel": True,
    "layers/attention_0/part/q/bias": False,
    "layers/attention_0/part/position/table": False,
    "layers/attention_0/in_norm/scale": False,
    "layers/mlp_1/skip/scale": False,
    "layers/mamba2_0/part/a_log": False,
    "head_mlm/table": True,
    "head_mlm/bias": False,
    "head_mlm/dense/kernel": True,
    "generator/head_mlm/table": True,
}


@pytest.mark.parametrize("path", DECAYS)
def test_default_decay_by_path(path):
    assert first_match(path, DECAY) == DECAYS[path]


def test_decay_rules_of_the_config_come_first(params):
    rules = [("head/", 0.0), (r"/position/", 2.0)]
    optimiser = build_optimiser(
        dict(kind="sgd", weight_decay=0.5, momentum=0.0),
        optax.constant_schedule(0.1),
        params,
        decay=rules,
    )
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimiser.update(zeros, optimiser.init(params), params, step=0)
    table = params["embed"]["position"]["embedding"]
    np.testing.assert_allclose(updates["embed"]["position"]["embedding"], -0.1 * table, rtol=1e-6)
    assert not np.any(updates["head"]["kernel"])


def test_groups_scale_the_learning_rate_first_match_wins(params):
    groups = [("head/kernel", 0.5), ("head/", 0.25), ("^layers/", [0.1, 1.0])]
    spec, schedule = dict(kind="sgd", momentum=0.0), optax.constant_schedule(1.0)
    grouped = build_optimiser(spec, schedule, params, groups=groups)
    grads = gradients(params, 0)
    updates, _ = grouped.update(grads, grouped.init(params), params, step=0)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.5 * grads["head"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["bias"], -0.25 * grads["head"]["bias"], rtol=1e-6)
    up = -grads["layers"]["up"]["kernel"] * np.array([0.1, 1.0], np.float32)[:, None, None]
    np.testing.assert_allclose(updates["layers"]["up"]["kernel"], up, rtol=1e-6)
    np.testing.assert_allclose(updates["embed"]["token"]["embedding"], -grads["embed"]["token"]["embedding"], rtol=1e-6)


def test_frozen_parameters_have_no_update_and_no_state(params):
    optimiser = build_optimiser(dict(kind="adamw"), optax.constant_schedule(0.1), params, freeze=["^embed/"], clip=1.0)
    after, state = run(optimiser, params)
    np.testing.assert_array_equal(after["embed"]["token"]["embedding"], params["embed"]["token"]["embedding"])
    assert optimiser.frozen == {"embed/token/embedding", "embed/position/embedding"}
    assert not [path for path in flatten(state) if "embed/" in path]
    assert [path for path in flatten(state) if "layers/up/kernel" in path]


def test_only_what_is_named_trains(params):
    """train_only freezes all else; beside freeze it would be ambiguous."""
    rate = optax.constant_schedule(0.1)
    optimiser = build_optimiser(dict(kind="adamw"), rate, params, train_only=["^head/", "up/bias$"])
    assert set(flatten(params)) - optimiser.frozen == {"head/kernel", "head/bias", "layers/up/bias"}
    frozen = build_optimiser(dict(kind="adamw"), rate, params, freeze=["^embed/", "up/kernel$", "scale"]).frozen
    assert frozen == optimiser.frozen
    with pytest.raises(XfmError, match="config.freeze names what does not train and config.train_only what does; set"):
        build_optimiser(dict(kind="adamw"), rate, params, train_only=["^head/"], freeze=["^embed/"])


def test_clip_is_over_the_parameters_that_train(params):
    optimiser = build_optimiser(
        dict(kind="sgd", momentum=0.0),
        optax.constant_schedule(1.0),
        params,
        freeze=["^embed/"],
        clip=0.5,
    )
    updates, _ = optimiser.update(gradients(params, 0), optimiser.init(params), params, step=0)
    np.testing.assert_allclose(optax.tree.norm(updates), 0.5, rtol=1e-5)


@pytest.mark.parametrize("field", ["decay", "groups", "freeze", "train_only"])
def test_unmatched_pattern_is_named_with_the_nearest_paths(field, params):
    pattern = "heads/kernel"
    rules = [pattern] if field in ("freeze", "train_only") else [(pattern, 0.5)]
    with pytest.raises(XfmError, match=rf"config.{field}: 'heads/kernel'.*nearest are head/kernel"):
        build_optimiser(dict(kind="adamw"), optax.constant_schedule(0.1), params, **{field: rules})


def test_unknown_kind_and_field_name_the_nearest(params):
    with pytest.raises(XfmError, match="config.optimiser: .*'adamww'.*did you mean 'adamw'"):
        build_optimiser(dict(kind="adamww"), optax.constant_schedule(0.1), params)
    with pytest.raises(XfmError, match="config.schedule: .*'peek'.*did you mean 'peak'"):
        build_schedule(dict(kind="cosine", peek=1.0), 10)


# The rate after a warm-up of 3 steps to a peak of 1, at each step t of 12, by the words of each schedule.
RATES = [
    ("constant", {}, lambda t: 1.0),
    ("linear", {}, lambda t: (12 - t) / 9),
    ("linear", dict(end=0.2), lambda t: 1 - 0.8 * (t - 3) / 9),
    ("cosine", dict(end=0.2), lambda t: 0.2 + 0.4 * (1 + np.cos(np.pi * (t - 3) / 9))),
    ("wsd", {}, lambda t: 1.0 if t < 12 else 0.0),
    ("wsd", dict(decay=4, end=0.2), lambda t: 1.0 if t < 8 else 1 - 0.8 * (t - 8) / 4),
    ("wsd", dict(decay=4, shape="sqrt"), lambda t: 1.0 if t < 8 else 1 - np.sqrt((t - 8) / 4)),
    ("rsqrt", {}, lambda t: np.sqrt(3 / t)),
    ("rsqrt", dict(timescale=2, cooldown=4), lambda t: np.sqrt(2 / (2 + t - 3)) * min(1, (12 - t) / 4)),
    ("milestones", dict(at=(5, 9), factor=0.2), lambda t: 1.0 if t < 5 else 0.2 if t < 9 else 0.04),
]


def test_every_schedule_has_rates():
    assert {kind for kind, _, _ in RATES} == set(SCHEDULES)


@pytest.mark.parametrize("kind,spec,rate", RATES)
def test_schedules(kind, spec, rate):
    schedule, steps = build_schedule(dict(kind=kind, warmup=3, peak=1.0, **spec), 12), np.arange(13)
    expected = [t / 3 if t < 3 else rate(t) for t in steps]
    np.testing.assert_allclose(jax.vmap(schedule)(steps), expected, atol=1e-6)


@pytest.mark.parametrize(
    "spec,words",
    [
        (dict(kind="linear", warmup=20), "warmup is 20 steps of 10"),
        (dict(kind="wsd", warmup=4, decay=7), r"wsd needs warmup 4 \+ decay 7 <= steps 10; lower one"),
        (dict(kind="rsqrt", warmup=4, cooldown=7), r"rsqrt needs warmup 4 \+ cooldown 7 <= steps 10; lower one"),
        (dict(kind="milestones", warmup=4, at=[4]), r"at \(4,\) must lie between warmup 4 and steps 10"),
    ],
)
def test_what_is_longer_than_the_run_is_refused(spec, words):
    with pytest.raises(XfmError, match=words):
        build_schedule(spec, 10)
