"""SiT's corruption and its losses against their description, written out.

Takes six seconds.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.keys import key as hashed
from tests.objectives.test_rows import B, example, extra_of
from xfm.objectives.corrupted_images import groups, others

SHARE = 0.5


@functools.cache
def drawn(align):
    share = jnp.full(400, SHARE)
    return np.asarray(jax.jit(lambda key: groups(key, 400, (24, 20), share, align, 0.4))(hashed(1)))


def test_corrupted_pixels_are_in_groups_that_cover_the_share_and_little_more():
    """The last rectangle has at most 8 x 7 of 24 x 20 pixels, the longest sides below 0.4 of the image's."""
    covered = drawn(1).mean((1, 2))
    assert covered.min() >= SHARE and covered.max() < SHARE + 8 * 7 / 480
    alike = (drawn(1)[:, 1:] == drawn(1)[:, :-1]).mean()
    assert alike > 0.75  # half of them would be, were pixels corrupted one by one
    assert (drawn(1).mean(0) > 0).all()  # every pixel, those in the corners too


def test_groups_are_aligned_with_patches():
    tiles = drawn(4).reshape(400, 6, 4, 5, 4).swapaxes(2, 3)
    assert (tiles.std((3, 4)) == 0).all()


def test_another_image_is_one_that_counts():
    assert others(jnp.array([1.0, 0, 1, 1, 0])).tolist() == [3, 0, 0, 2, 3]
    assert others(jnp.array([0.0, 1, 0])).tolist() == [1, 1, 1]


def test_corrupted_regions_alone_differ_from_the_images():
    one, _, batch = example("corrupted_images")
    images = jnp.asarray(batch["images"])
    kinds = set()
    for seed in range(3):
        x, mask = one.corrupted(images, jnp.ones(B), hashed(seed))
        for row in range(B):
            where = np.asarray(mask[row])
            np.testing.assert_array_equal(x[row][~where], images[row][~where])
            foreign, inside = np.asarray(images[row - 1][where]), np.asarray(x[row][where])
            kind = "zeros" if not inside.any() else "other" if np.array_equal(inside, foreign) else "wrong"
            assert where.mean() >= (one.zeros if kind == "zeros" else one.replaced)
            kinds.add(kind)
    assert kinds == {"zeros", "other"}


def test_the_losses_by_hand():
    """The absolute error of corrupted pixels; the contrast of each view with the teacher's of the other, both ways."""
    one, params, batch = example("corrupted_images")
    batch = {**batch, "global_1/images": batch["images"][:, ::-1]}
    teacher = extra_of("corrupted_images")["teacher"]
    run = jax.jit(lambda p, images: one.model.apply({"params": p}, {"images": images}))
    views = [batch["global_1/images"], batch["images"]]  # by name
    keys = jax.random.split(jax.random.split(hashed(2))[0], 2)
    errors, count, own, wanted = 0.0, 0, [], []
    for view, key in zip(views, keys, strict=True):
        x, mask = one.corrupted(jnp.asarray(view), jnp.ones(B), key)
        out, mask = run(params, x), np.asarray(mask)
        errors, count = errors + np.abs(np.asarray(out["pixels"]) - view)[mask].sum(), count + mask.sum()
        for found, made in ((own, out), (wanted, run(teacher, view))):
            vector = np.asarray(made["vector"], np.float64)
            found.append(vector / np.linalg.norm(vector, axis=1, keepdims=True))
    scores = [own[i] @ wanted[1 - i].T / one.temperature for i in range(2)]
    each = [np.log(np.exp(s).sum(1)) - np.diag(s) for s in scores]
    contrast = 2 * one.temperature * (each[0] + each[1]).mean()
    measure = jax.jit(lambda p, e: one.loss(p, e, batch, hashed(2), train=False))
    loss, metrics, _ = measure(params, {"teacher": teacher})
    found = {name: float(total / count) for name, (total, count) in metrics.items()}
    assert found["loss"] == pytest.approx(errors / count, rel=1e-5)
    assert found["contrast_loss"] == pytest.approx(contrast, rel=1e-5)
    assert float(loss) == pytest.approx(one.weight * errors / count + contrast, rel=1e-5)
    right = np.mean([(s.argmax(1) == np.arange(B)).mean() for s in scores])
    assert found["accuracy"] == pytest.approx(right)
    slopes = jax.jit(jax.grad(lambda e: one.loss(params, e, batch, hashed(2))[0]))({"teacher": teacher})
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slopes))
    moved = one.after_update(params, {"teacher": teacher}, 0)["teacher"]["embed"]["cls"]
    np.testing.assert_allclose(moved, 0.996 * teacher["embed"]["cls"] + 0.004 * params["embed"]["cls"], rtol=1e-5)
