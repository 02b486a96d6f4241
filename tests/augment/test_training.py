"""Augmentation as part of the training step: its numbers follow from seed, step and row. Takes eight seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.augment import augment_of, recipes
from xfm.data import Batches, open_data
from xfm.train.optimiser import build_optimiser
from xfm.train.schedules import build_schedule
from xfm.train.state import new_state
from xfm.train.step import make_step

pytest.importorskip("sklearn.datasets")
DATA = dict(kind="images", size=8, stored=(10, 12), mean=0.25, std=0.5)


class Mean:
    """An objective whose one parameter follows the mean image, so that it shows what it was given."""

    def init(self, rng, batch):
        return {"w": jnp.zeros(batch["images"].shape[1:])}, {}

    def loss(self, params, extra, batch, rng, *, step=0, train=True):
        loss = ((params["w"] - batch["images"].mean(0)) ** 2).sum()
        return loss, {"loss": (loss, 1.0)}, extra


def trained(steps, start=None, seed=0):
    config = dict(augment=dict(ops=recipes.deit(size=8, erase=0.5)), data=DATA)
    batches = Batches(open_data(DATA, "unused").train, 8, seed, repeats=2)
    rows = {name: jnp.zeros(shape, dtype) for name, (shape, dtype) in batches.spec().items()}
    augment = augment_of(config)
    seen = jax.eval_shape(augment, rows, jax.random.key(0), 0)
    assert rows["images"].shape == (8, 10, 12, 1) and seen["images"].shape == (8, 8, 8, 1)
    zeros = {name: jnp.zeros(x.shape, x.dtype) for name, x in seen.items()}
    params = jax.eval_shape(lambda: Mean().init(None, zeros)[0])
    optimiser = build_optimiser(dict(kind="sgd"), build_schedule(dict(kind="constant", peak=0.1), 4), params)
    state = start or new_state(Mean(), optimiser, jax.random.key(seed), zeros, None)
    step = make_step(Mean(), optimiser, augment=augment)
    for number in steps:
        state, metrics = step(state, batches.rows(number))
    return jax.tree.map(jnp.array, state), metrics


def test_a_resumed_run_augments_alike():
    """Bit for bit; another seed, and another step, draw other numbers."""
    whole, _ = trained(range(4))
    half, _ = trained(range(2))
    again, _ = trained(range(2, 4), start=half)
    np.testing.assert_array_equal(whole.params["w"], again.params["w"])
    assert not np.array_equal(whole.params["w"], trained(range(4), seed=1)[0].params["w"])


def test_rows_are_repeated():
    """Each row of the source stands `repeats` times one after another, and an epoch has as many steps more."""
    source = open_data(DATA, "unused").train
    plain, twice = Batches(source, 6, 0), Batches(source, 6, 0, repeats=3)
    assert [twice.index(i) for i in range(6)] == [plain.index(i // 3) for i in range(6)]
    assert twice.steps_per_epoch == 3 * plain.steps_per_epoch
    assert twice.epoch(int(twice.steps_per_epoch) + 1) == 1 > twice.epoch(int(plain.steps_per_epoch) + 1)


def test_training_images_are_stored_larger():
    data = open_data(DATA, "unused")
    assert data.train[0]["images"].shape == (10, 12, 1) and data.valid[0]["images"].shape == (8, 8, 1)
    plain = open_data({**DATA, "stored": None}, "unused")
    assert plain.fingerprint != data.fingerprint and plain.train[0]["images"].shape == (8, 8, 1)
