"""Moving averages of batch normalisation: in microbatches, in layers that repeat and loop, and where they are not.

Takes six seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import values
from xfm.errors import XfmError
from xfm.initial import initial_shapes
from xfm.objectives.classification import Classification
from xfm.paths import flatten
from xfm.train.state import State
from xfm.train.statistics import written
from xfm.train.step import make_eval, make_step

NORM = dict(kind="batchnorm", momentum=0.75)
BATCH = {
    "images": np.random.default_rng(0).normal(2.0, 1.5, (4, 4, 4, 3)).astype(np.float32),
    "labels": np.array([0, 1, 2, 1]),
}
LOOPS = 2


def network(**changes):
    head = dict(kind="classification", classes=3, pool=dict(kind="mean"))
    return xfm.build(
        dict(
            kind="stack", embed=dict(kind="patches", patch=2, width=6, cls=0, norm=NORM),
            pattern=[dict(kind="mlp", hidden=8)], repeats=2, loops=LOOPS, norms={"in": NORM}, heads=dict(label=head),
        ) | changes
    )  # fmt: skip


def state_of(model):
    params = values(initial_shapes(model, BATCH)["params"])
    params = jax.tree_util.tree_map_with_path(lambda path, a: abs(a) + 0.5 if "variance" in str(path) else a, params)
    return State(jnp.int32(0), params, optax.sgd(0.1).init(params), {}, None, jax.random.key(0))


def moved(old, x):
    """The averages after a batch x [B T D], by the formula."""
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return [0.75 * a + 0.25 * b for a, b in zip(old, (x.mean(0), x.var(0, ddof=1)), strict=True)]


def run(accumulate):
    model = network()
    state, objective = state_of(model), Classification(model=model, classes=3)
    before = jax.device_get(state.params)
    after, metrics = make_step(objective, optax.sgd(0.1), accumulate=accumulate)(state, BATCH)
    return model, before, jax.device_get(after.params), metrics


@pytest.mark.parametrize("accumulate", [1, 2])
def test_averages_follow_the_batch_and_the_rest_is_trained(accumulate):
    """Of the embedding's norm by formula; a step changes those of every layer, and the metrics hold none."""
    model, before, after, metrics = run(accumulate)
    x = BATCH["images"].reshape(4, 2, 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(4, 4, 12)
    x = x @ before["embed"]["patch"]["kernel"] + before["embed"]["patch"]["bias"]
    old, new = ([p["embed"]["norm"][name] for name in ("mean", "variance")] for p in (before, after))
    parts = [moved(old, x[i::accumulate]) for i in range(accumulate)]
    assert_close(new, [np.mean(each, axis=0) for each in zip(*parts, strict=True)])
    assert all(not name.startswith("statistics") for name in metrics)
    for path, value in flatten(after).items():
        if path == "embed/patch/bias":
            continue  # the norm takes it out
        change = np.abs(value - flatten(before)[path]).reshape(len(value) if path.startswith("layers") else 1, -1)
        assert (change.max(axis=1) > 1e-7).all(), path


def test_training_reads_the_batch_and_evaluation_the_averages():
    """The normed embedding has zero mean in training; in evaluation the averages decide, which it does not change."""
    model = network(loops=1)
    state, objective = state_of(model), Classification(model=model, classes=3)
    seen = {}
    for train in (True, False):
        out, kept = objective.forward("model", state.params, BATCH, jax.random.key(0), train)
        seen[train] = np.asarray(out["hidden"]), set(kept)
    assert np.abs(seen[True][0] - seen[False][0]).max() > 0.01
    assert "statistics" in seen[True][1] and "statistics" not in seen[False][1]
    metrics = make_eval(objective)(state.params, {}, BATCH, jax.random.key(0))
    assert set(metrics) == {"loss", "accuracy"}


def test_statistics_without_a_parameter_are_an_error_and_frozen_ones_stay():
    params = {"norm": {"mean": np.zeros(2, np.float32)}}
    with pytest.raises(XfmError, match="keeps statistics at other/mean, which is none of the parameters; it can be"):
        written(params, {"other/mean": jnp.ones(2)})
    assert written(params, {"norm/mean": jnp.ones(2)}, frozenset(["norm/mean"])) == params
    layers = {"norm": {"mean": np.zeros((3, 2), np.float32)}}
    of_loops = jnp.arange(24.0).reshape(3, 4, 2)
    assert_close(written(layers, {"norm/mean": of_loops})["norm"]["mean"], of_loops.mean(1))
