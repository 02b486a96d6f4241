"""I-JEPA's loss: predicted per block from the context, targets from an encoder that follows. Takes eight seconds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_masked_images import DECODER, IMAGES
from tests.objectives.test_rows import PATCHES, stack
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.monitors import deviation, entropy, mean_row, rank
from xfm.objectives.teachers import cosine_momentum, followed, momentum

PREDICTOR = dict(DECODER["decoder"], heads=dict(patches=dict(kind="values", width=8)))
MASK = dict(kind="multi_block", scale=(0.2, 0.4), targets=3, visible=0.6)


@functools.cache
def jepa():
    network = dict(DECODER, embed=dict(PATCHES, cls=0), decoder=PREDICTOR)
    one = build_objective(dict(model=network, objective=dict(kind="joint_embedding", mask=MASK)), None)
    params, extra = shapes(one.init, {"images": IMAGES})
    return one, noise(params, seed=1), noise(extra, seed=3)


def test_the_loss_block_by_block():
    """Each target block by a run of its own; smooth distances of features that are normalised per patch."""
    one, params, extra = jepa()
    choose, _ = jax.random.split(hashed(4))
    split = jax.device_get(one.split(IMAGES, choose))
    assert split.hidden.shape == (6, 3, 2) and not split.real.all()
    run = jax.jit(lambda p, b: one.model.apply({"params": p}, b))
    features = np.asarray(
        run({**extra["teacher"], "decoder": params["decoder"]}, {"images": IMAGES})["hidden"], np.float64
    )
    features -= features.mean(-1, keepdims=True)
    features /= np.sqrt((features**2).mean(-1, keepdims=True) + 1e-5)
    losses, of_mean = [], []
    for g in range(3):
        given = {"images": IMAGES, "visible": split.visible, "real": split.real, "predicted": split.hidden[:, g]}
        made = np.asarray(run(params, given)["patches"])[:, -2:]
        apart = np.abs(made - features[np.arange(6)[:, None], split.hidden[:, g]])
        losses.append(np.where(apart < 1, apart**2 / 2, apart - 0.5).mean())
        rest = np.abs(features - features.mean(0))[np.arange(6)[:, None], split.hidden[:, g]]
        of_mean.append(np.where(rest < 1, rest**2 / 2, rest - 0.5).mean())
    loss, metrics, _ = jax.jit(lambda p, e: one.loss(p, e, {"images": IMAGES}, hashed(4)))(params, extra)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    total, count = metrics["mean_image"]
    assert float(total / count) == pytest.approx(np.mean(of_mean), rel=1e-5)
    over = features.reshape(-1, 8)
    assert float(metrics["deviation"][0]) == pytest.approx(over.std(0).mean(), rel=1e-4)


def test_patches_that_fill_up_a_context_have_no_part_in_it():
    one, params, extra = jepa()
    split = jax.device_get(one.split(IMAGES, jax.random.split(hashed(4))[0]))
    run = jax.jit(lambda v: one.model.apply({"params": params}, {
        "images": IMAGES, "visible": v, "real": split.real, "predicted": split.hidden})["patches"])  # fmt: skip
    other = np.where(split.real, split.visible, 11)
    assert (other != split.visible).any()
    np.testing.assert_array_equal(run(other)[:, :, -2:], run(split.visible)[:, :, -2:])


def test_no_gradient_reaches_the_teacher_which_follows():
    one, params, extra = jepa()
    slopes = jax.jit(jax.grad(lambda e: one.loss(params, e, {"images": IMAGES}, hashed(4))[0]))(extra)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slopes))
    begun = jax.jit(lambda key: one.init(key, {"images": IMAGES}))(hashed(0))
    assert "decoder" not in begun[1]["teacher"]
    jax.tree.map(
        np.testing.assert_array_equal, begun[1]["teacher"], {k: v for k, v in begun[0].items() if k != "decoder"}
    )
    after = one.after_update(params, extra, 0)["teacher"]
    for path in (
        (("norm", "scale"), ("embed", "patch", "kernel")) if "norm" in after else (("embed", "patch", "kernel"),)
    ):
        old, new, now = (
            functools.reduce(lambda tree, name: tree[name], path, tree) for tree in (extra["teacher"], params, after)
        )
        np.testing.assert_allclose(now, 0.996 * old + 0.004 * new, rtol=1e-5, atol=1e-7)


def test_momentum_follows_its_schedule():
    """A straight line (I-JEPA) and half a cosine (BYOL, equation in section 3.3); at 1 the teacher stays to the bit."""
    assert [float(momentum((0.9, 1.0, 10), s)) for s in (0, 5, 10, 99)] == pytest.approx([0.9, 0.95, 1.0, 1.0])
    for s in (0, 3, 10):
        wanted = 1 - (1 - 0.9) * (np.cos(np.pi * s / 10) + 1) / 2
        assert float(cosine_momentum((0.9, 1.0, 10), s)) == pytest.approx(wanted, rel=1e-6)
    teacher = {"a": jnp.array([1.1, -2.3])}
    np.testing.assert_array_equal(followed(teacher, {"a": jnp.ones(2)}, jnp.float32(1))["a"], teacher["a"])


def test_monitors_show_a_collapse():
    """Rank of RankMe against NumPy's singular values; rows of weight 0 do not count."""
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32) @ np.diag([3, 2, 1, 0.5, 0.1]).astype(
        np.float32
    )
    weights = np.ones(42, np.float32)
    weights[40:] = 0
    filled = np.concatenate([x, np.full((2, 5), np.nan, np.float32)])
    share = np.linalg.svd(x, compute_uv=False)
    share /= share.sum()
    wanted = np.exp(-(share * np.log(share)).sum())
    assert float(rank(filled, weights)) == pytest.approx(wanted, rel=1e-3) and 3 < wanted < 5
    assert float(deviation(filled, weights)) == pytest.approx(x.std(0).mean(), rel=1e-5)
    np.testing.assert_allclose(mean_row(filled, weights), np.tile(x.mean(0), (42, 1)), atol=1e-6)
    assert float(rank(np.ones((9, 5), np.float32) * 7, np.ones(9))) == pytest.approx(1, abs=0.01)
    assert float(entropy(np.full(8, 1 / 8))) == pytest.approx(np.log(8))


def test_another_network_is_refused():
    with pytest.raises(XfmError, match="joint_embedding needs a network of kind 'autoencoder'"):
        build_objective(dict(model=stack(PATCHES), objective=dict(kind="joint_embedding")), None)
