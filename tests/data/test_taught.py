"""Stored answers of a teacher: what is written comes back with the images that the teacher saw. Takes five seconds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xfm.augment import augment_of
from xfm.data import open_data
from xfm.data.taught import teach
from xfm.errors import XfmError
from xfm.objectives.stored_distillation import dense
from xfm.sharding import make_mesh

pytest.importorskip("sklearn.datasets")
IMAGES = dict(size=8, stored=(10, 12), validation=0.9)
EPOCHS, KEPT, CLASSES = 2, 3, 7
OPS = [dict(kind="random_resized_crop", size=8), dict(kind="flip"), dict(kind="erase", chance=0.5)]
AUGMENT = augment_of(dict(augment=dict(ops=OPS, draws="seeds"), data=IMAGES))


def answer(params, batch):
    """Logits that change with every pixel of the augmented images."""
    images = AUGMENT(batch, None, 0)["images"]
    return images.reshape(len(images), -1) @ params


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    params = 0.2 * np.random.default_rng(0).normal(size=(64, CLASSES)).astype(np.float32)
    data = open_data(dict(kind="images", **IMAGES), folder)
    teach(folder, data, answer, params, make_mesh({}), kept=KEPT, epochs=EPOCHS, batch=64)
    return folder, params, data


def opened(folder, **changes):
    return open_data(dict(kind="taught", images=IMAGES, path=str(folder), kept=KEPT) | changes, folder)


def test_stored_seeds_recreate_what_the_teacher_saw(written):
    """In another order, in batches of another size, at another step, and bit for bit."""
    folder, params, images = written
    data, rng = opened(folder), np.random.default_rng(1)
    assert len(data.train) == EPOCHS * len(images.train) and data.facts["epochs_of_answers"] == EPOCHS
    chosen = rng.permutation(len(data.train))[:9]
    rows = [data.train[i] for i in chosen]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    once = jax.jit(lambda batch, step: AUGMENT(batch, jax.random.key(5), step)["images"])
    seen = np.asarray(once(batch, 11))
    np.testing.assert_array_equal(seen[::-1], once({name: x[::-1] for name, x in batch.items()}, 12))
    assert not np.array_equal(seen, once({**batch, "seeds": batch["seeds"] + 1}, 11))
    chances = np.asarray(jax.nn.softmax(seen.reshape(9, -1) @ params))
    for row, (i, each) in enumerate(zip(chosen, chances, strict=True)):
        best = np.argsort(-each)[:KEPT]
        np.testing.assert_array_equal(batch["taught/classes"][row], best)
        np.testing.assert_allclose(batch["taught/shares"][row], each[best], 1e-3, 1e-6)  # half precision
        np.testing.assert_array_equal(batch["images"][row], images.train[i % len(images.train)]["images"])
    seeds = {int(data.train[i]["seeds"]) for i in range(len(data.train))}
    assert len(seeds) == len(data.train), "an image has the same seed in two epochs, or two images have one"


def test_labels_are_the_whole_distribution_of_validation(written):
    data = opened(written[0])
    row = data.valid[5]
    wanted = dense(row["taught/shares"][None], row["taught/classes"][None], CLASSES + 3)
    np.testing.assert_array_equal(wanted[0], np.arange(CLASSES + 3) == row["labels"])


def test_what_does_not_fit_is_refused(written, tmp_path):
    folder = written[0]
    for changes, said in (
        (dict(kept=4), "have 3 probabilities of each image; set data.kept to 3"),
        (dict(images=dict(IMAGES, mean=0.2)), "were written for other images"),
        (dict(images=dict(IMAGES, augment=[dict(kind="flip")])), "where no seed re-creates it"),
        (dict(path=str(tmp_path / "none")), "has no answers of a teacher"),
    ):
        with pytest.raises(XfmError, match=said):
            opened(folder, **changes)
    with pytest.raises(XfmError, match="draws is 'seeds', and this data has images"):
        AUGMENT({"images": jnp.zeros((1, 10, 12, 1))}, jax.random.key(0), 0)
    plain = dataclasses.replace(AUGMENT, draws="run")
    made = jax.eval_shape(plain, {"images": jnp.zeros((1, 10, 12, 1))}, jax.random.key(0), 0)
    assert made["images"].shape == (1, 8, 8, 1)


def test_unfinished_answers_are_not_taken_for_whole_ones(written, tmp_path):
    """Also where a folder held answers before."""
    _, params, data = written

    def stops(params, batch):
        raise KeyboardInterrupt

    how = dict(mesh=make_mesh({}), kept=KEPT, batch=64)
    teach(tmp_path, data, answer, params, **how)
    assert len(opened(tmp_path).train) == len(data.train)
    with pytest.raises(KeyboardInterrupt):
        teach(tmp_path, data, stops, params, **how)
    with pytest.raises(XfmError, match="has no answers of a teacher"):
        opened(tmp_path)
