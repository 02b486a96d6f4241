"""One step: accumulation, the moving average, random numbers, and a loss that is not finite."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_regression import Linear, Rows

from xfm.data import Batches
from xfm.paths import flatten
from xfm.train.optimiser import OPTIMISERS, build_optimiser
from xfm.train.schedules import build_schedule
from xfm.train.state import State, new_state
from xfm.train.step import make_eval, make_step

BATCHES = Batches(Rows(64, 1), 8, 0)


def start(objective, ema=None, **rules):
    batch = BATCHES.rows(0)
    params = jax.eval_shape(lambda: objective.init(jax.random.key(0), batch)[0])
    schedule = optax.constant_schedule(0.1)
    optimiser = build_optimiser(dict(kind="adamw"), schedule, params, **rules)
    return optimiser, new_state(objective, optimiser, jax.random.key(0), batch, ema)


def copy(tree):
    return jax.tree.map(jnp.array, tree)


def numbers(tree):
    """path -> numpy array, keys as their bits."""
    return {
        path: np.asarray(jax.random.key_data(x) if path.endswith("rng") else x) for path, x in flatten(tree).items()
    }


def test_needs_no_loop_and_descends():
    objective = Linear(noise=0.0)
    optimiser, state = start(objective)
    step = make_step(objective, optimiser)
    losses = []
    for i in range(30):
        state, metrics = step(state, BATCHES.rows(i))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    assert losses[-1] < 0.1 * losses[0]
    assert int(state.step) == 30
    assert {n: float(metrics[n][0]) for n in ("skipped", "examples")} == dict(skipped=0, examples=8)


def test_accumulation_is_the_gradient_of_the_whole_batch():
    objective = Linear(noise=0.0)
    optimiser, state = start(objective)
    whole, metrics = make_step(objective, optimiser)(copy(state), BATCHES.rows(0))
    parts, same = make_step(objective, optimiser, accumulate=4)(copy(state), BATCHES.rows(0))
    for path, value in numbers(whole.params).items():
        np.testing.assert_allclose(numbers(parts.params)[path], value, rtol=1e-5, atol=1e-7)
    for name in ("loss", "grad_norm", "examples"):
        np.testing.assert_allclose(same[name], metrics[name], rtol=1e-6)
    assert int(parts.extra["calls"]) == 4


def test_accumulation_weighs_microbatches_by_what_they_count():
    """A masked loss: microbatches with 1 and 3 counted rows; the mean of means would be another
    gradient.
    """

    class Masked(Linear):
        def loss(self, params, extra, batch, rng, *, step=0, train=True):
            y = batch["x"] @ params["head"]["kernel"]
            squares = ((y - batch["labels"]) ** 2).mean(1) * batch["weights"]
            count = batch["weights"].sum()
            return squares.sum() / count, {"loss": (squares.sum(), count)}, extra

    objective = Masked()
    optimiser, state = start(objective)
    batch = {**BATCHES.rows(0), "weights": np.float32([1, 1, 0, 1, 0, 1, 0, 0])}
    whole, _ = make_step(objective, optimiser)(copy(state), batch)
    parts, _ = make_step(objective, optimiser, accumulate=2)(copy(state), batch)
    for path, value in numbers(whole.params).items():
        np.testing.assert_allclose(numbers(parts.params)[path], value, rtol=1e-5, atol=1e-7)


def test_each_microbatch_of_each_step_draws_numbers_of_its_own():
    """And counts by the same numbers as it descends: with the draw as the count too, the loss is 1."""

    class Drawing(Linear):
        def loss(self, params, extra, batch, rng, *, step=0, train=True):
            number = jax.random.uniform(rng)
            weight = jnp.float32(0) * params["head"]["kernel"].sum()
            extra = {"drawn": jnp.roll(extra["drawn"], 1).at[0].set(number)}
            return weight + 1.0, {"loss": (weight + number, number)}, extra

    objective = Drawing()
    optimiser, state = start(objective)
    state = state.replace(extra={"drawn": jnp.zeros(8)})
    step = make_step(objective, optimiser, accumulate=4)
    for i in range(2):
        state, metrics = step(state, BATCHES.rows(i))
        np.testing.assert_allclose(metrics["loss"][0] / metrics["loss"][1], 1.0, rtol=1e-6)
    assert len(set(np.asarray(state.extra["drawn"]).tolist()) - {0.0}) == 8


def test_moving_average():
    objective = Linear()
    optimiser, state = start(objective, ema=0.75)
    before = np.asarray(state.ema["head"]["kernel"])
    state, _ = make_step(objective, optimiser, ema=0.75)(state, BATCHES.rows(0))
    after = 0.75 * before + 0.25 * np.asarray(state.params["head"]["kernel"])
    np.testing.assert_allclose(state.ema["head"]["kernel"], after, rtol=1e-6)


def test_random_numbers_follow_from_the_step():
    objective = Linear(noise=1.0)
    optimiser, state = start(objective)
    step = make_step(objective, optimiser)
    first, a = step(copy(state), BATCHES.rows(0))
    again, b = step(copy(state), BATCHES.rows(0))
    later, c = step(copy(state).replace(step=jnp.int32(7)), BATCHES.rows(0))
    assert float(a["loss"][0]) == float(b["loss"][0]) != float(c["loss"][0])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_update_that_is_not_finite_is_not_made(accumulate):
    batch = BATCHES.rows(0)
    objective = Linear(bad=(int(batch["number"].max()),))
    optimiser, state = start(objective, ema=0.9)
    before = numbers(copy(state))
    step = make_step(objective, optimiser, accumulate=accumulate, ema=0.9)
    state, metrics = step(state, batch)
    after = numbers(state)
    assert int(after.pop("step")) == 1 and int(before.pop("step")) == 0
    for path in before:
        np.testing.assert_array_equal(after[path], before[path], err_msg=path)
    assert float(metrics["skipped"][0]) == 1.0
    assert all(float(v) == 0 for name in metrics for v in metrics[name] if name != "skipped")


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_the_rate_is_that_of_the_step_though_steps_were_skipped(kind):
    """The schedule counts steps of the run, for every optimiser, group and frozen parameter, and so ends with it."""
    batch = BATCHES.rows(0)
    objective = Linear(noise=0.0, bad=(-1,))
    rules = dict(groups=[("bias", 0.5)], freeze=["other"])
    params = {"head": {"kernel": jnp.ones((6, 3)), "bias": jnp.ones(3)}, "other": jnp.ones(2)}
    schedule = build_schedule(dict(kind="linear", peak=1.0), 10)
    optimiser = build_optimiser(dict(kind=kind), schedule, params, **rules)
    extra = {"calls": jnp.int32(0)}
    state = State(jnp.int32(0), params, optimiser.init(params), extra, None, jax.random.key(0))
    step = make_step(objective, optimiser)
    skipped = {**batch, "number": np.full(8, -1, np.int32)}

    def moved(state):
        before = numbers(copy(state.params))
        after, metrics = step(copy(state), batch)
        assert float(metrics["skipped"][0]) == 0
        return {path: numbers(after.params)[path] - before[path] for path in before}

    first = moved(state)
    for _ in range(6):
        state, metrics = step(state, skipped)
        assert float(metrics["skipped"][0]) == 1
    later = moved(state)
    for path in ("head/kernel", "head/bias"):
        assert np.abs(first[path]).max() > 0
        np.testing.assert_allclose(later[path], 0.4 * first[path], rtol=2e-3, atol=1e-6)
    assert float(schedule(6)) == pytest.approx(0.4) and not later["other"].any()


def test_gradient_that_is_not_finite_is_not_applied_though_the_loss_is():
    class Root(Linear):
        def loss(self, params, extra, batch, rng, *, step=0, train=True):
            loss = jnp.sqrt(jnp.abs(params["head"]["bias"])).sum()  # 0 with an infinite slope
            return loss, {}, extra

    objective = Root()
    optimiser, state = start(objective)
    state, metrics = make_step(objective, optimiser)(state, BATCHES.rows(0))
    assert float(metrics["skipped"][0]) == 1.0
    assert np.isfinite(state.params["head"]["bias"]).all()


def test_frozen_parameters_stay_and_do_not_count_in_the_norm():
    """Nor does their moving average move, by rounding or otherwise."""
    objective = Linear(noise=0.0)
    optimiser, state = start(objective, ema=0.9, freeze=["head/kernel"])
    kernel = np.asarray(state.params["head"]["kernel"])
    grads = jax.grad(lambda p: objective.loss(p, state.extra, BATCHES.rows(0), None, train=False)[0])(state.params)
    norm = optax.tree.norm(grads["head"]["bias"])
    state, metrics = make_step(objective, optimiser, ema=0.9)(state, BATCHES.rows(0))
    np.testing.assert_array_equal(state.params["head"]["kernel"], kernel)
    np.testing.assert_array_equal(state.ema["head"]["kernel"], kernel)
    assert (0.9 * kernel + (1 - 0.9) * kernel != kernel).any()
    np.testing.assert_allclose(metrics["grad_norm"][0], norm, rtol=1e-6)


def test_evaluation_leaves_all_as_it_is():
    objective = Linear(noise=1.0)
    _, state = start(objective)
    evaluate = make_eval(objective)
    a = evaluate(state.params, state.extra, BATCHES.rows(0), jax.random.key(0))
    b = evaluate(state.params, state.extra, BATCHES.rows(0), jax.random.key(1))
    assert float(a["loss"][0]) == float(b["loss"][0])


@dataclasses.dataclass(frozen=True)
class Taught(Linear):
    """Beside the parameters, a teacher that goes half of the way to them at each update; the loss grows by its step."""

    def init(self, rng, batch):
        params, extra = super().init(rng, batch)
        return params, {**extra, "teacher": jax.tree.map(jnp.zeros_like, params), "updates": jnp.int32(0)}

    def loss(self, params, extra, batch, rng, *, step, train):
        loss, metrics, moved = super().loss(params, extra, batch, rng, train=train)
        summed, count = metrics["loss"]
        return loss + step, {"loss": (summed + step * count, count)}, {**extra, **moved}

    def after_update(self, params, extra, step):
        teacher = jax.tree.map(lambda t, p: (t + p) / 2, extra["teacher"], params)
        return {**extra, "teacher": teacher, "updates": extra["updates"] + 1, "calls": extra["calls"] + 100 * step}


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_teacher_follows_once_for_each_update(accumulate):
    """Half of the way, not 15 sixteenths, however many microbatches; and not where an update is skipped."""
    batch = BATCHES.rows(0)
    objective = Taught(noise=0.0, bad=(-1,))
    optimiser, state = start(objective)
    step = make_step(objective, optimiser, accumulate=accumulate)
    first, metrics = step(copy(state), batch)
    for path, value in flatten(first.extra["teacher"]).items():
        np.testing.assert_allclose(value, flatten(first.params)[path] / 2, rtol=1e-5, atol=1e-7)
    second, later = step(copy(first), batch)
    assert int(second.extra["updates"]) == 2
    assert int(second.extra["calls"]) == 100 + 2 * accumulate  # the second step has number 1
    _, same = step(copy(first).replace(step=jnp.int32(0)), batch)
    np.testing.assert_allclose((later["loss"][0] - same["loss"][0]) / later["loss"][1], 1.0, rtol=1e-4)
    skipped, metrics = step(copy(second), {**batch, "number": np.full(8, -1, np.int32)})
    assert float(metrics["skipped"][0]) == 1
    for path, value in flatten(second.extra).items():
        np.testing.assert_array_equal(flatten(skipped.extra)[path], value)
