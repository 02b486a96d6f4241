"""Instance discrimination: the loss by its formula, which rows count, and a table that is spread over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.objectives.test_rows import EXAMPLES, example
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.instance_discrimination import smoothed
from xfm.sharding import make_mesh, params_sharding, rules_named

eight = pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
NAME = "instance_discrimination"


def by_hand(logits, labels, smoothing):
    """With the whole array of labels."""
    logits = np.float64(logits)
    log = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = (1 - smoothing) * np.eye(logits.shape[-1])[labels] + smoothing / logits.shape[-1]
    return -(wanted * log).sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 0.8, 1.0])
def test_the_loss_is_the_cross_entropy_with_smoothed_labels(smoothing):
    logits, labels = 3 * np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32), np.array([0, 6, 2, 2, 5])
    assert_close(smoothed(jnp.asarray(logits), labels, smoothing), by_hand(logits, labels, smoothing))


def test_torch_has_the_same_number():
    """What torch 2.13 prints for cross_entropy(logits, labels, label_smoothing=0.8, reduction="none")."""
    logits = jnp.asarray([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    assert_close(smoothed(logits, jnp.asarray([0, 2]), 0.8), np.float32([1.4379303455, 1.9031795263]))


@functools.cache
def losses(train):
    one, params, batch = example(NAME)
    return one.loss(params, {}, batch, jax.random.key(0), train=train)[1]


def scores(one, params, batch):
    return np.asarray(one.forward("model", params, batch, None, False)[0]["row"])


def test_rows_that_are_held_out_do_not_count():
    """Training smooths the labels, evaluation does not."""
    one, params, batch = example(NAME)
    real = batch["row"] >= 0
    logits, labels = scores(one, params, batch)[real], batch["row"][real]
    assert 0 < real.sum() < len(real)
    for train, smoothing in ((True, 0.8), (False, 0.0)):
        total, count = losses(train)["loss"]
        assert count == real.sum()
        assert_close(total, np.float32(by_hand(logits, labels, smoothing).sum()))
    total, _ = losses(False)["accuracy"]
    assert total == (logits.argmax(-1) == labels).sum()


def test_head_data_and_objective_have_as_many_rows():
    kind, fields, network, batch = EXAMPLES[NAME]
    one = build_objective(dict(model=network, objective=dict(kind=kind, rows=8)), None)
    with pytest.raises(XfmError, match="the head 'row' has 9 rows and config.objective.rows is 8; set both"):
        one.loss(noise(shapes(one, batch)[0]), {}, batch, jax.random.key(0))

    class Data:
        train = range(10)

    with pytest.raises(XfmError, match="the data has 10 training rows and config.objective.rows is 8.*to 10"):
        one.baseline(Data)
    with pytest.raises(XfmError, match="set rows to the number of training rows, 2 or more; it is 0"):
        build_objective(dict(model=network, objective=dict(kind=kind)), None)
    with pytest.raises(XfmError, match="needs data with 'row'; the arrays of config.data are images"):
        one.loss({}, {}, {"images": batch["images"]}, jax.random.key(0))


@eight
def test_a_table_in_parts_has_the_loss_and_the_gradient_of_the_whole_one():
    """Its rows are divided over the axis "model" as those of a vocabulary, and no device forms all scores of a row."""
    kind, _, network, batch = EXAMPLES[NAME]
    network = dict(network, heads=dict(row=dict(kind="instances", rows=12)))
    one = build_objective(dict(model=network, objective=dict(kind=kind, rows=12)), None)
    batch = {name: np.concatenate([x, x[:2]]) for name, x in batch.items()}
    params = noise(shapes(one, batch)[0], seed=1)
    mesh = make_mesh(dict(data=2, model=4))
    sharding, notes = params_sharding(params, mesh, rules_named("tensor"))
    assert sharding["head_row"]["table"].spec == PartitionSpec("model") and not [n for n in notes if "head_row" in n]

    def loss(params, batch):
        return one.loss(params, {}, batch, jax.random.key(0))[0]

    f = jax.jit(jax.value_and_grad(loss))
    alone = f(params, batch)
    placed = jax.device_put(params, sharding), jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    assert_close(jax.device_get(f(*placed)), jax.device_get(alone))
    text = f.lower(*placed).compile().as_text()
    assert "f32[4,3]" in text and "f32[4,12]" not in text  # four rows of a device, and a quarter of the table's
