"""MaskAlign: aligned features and targets by their formulas, and who reads what. Takes six seconds."""

import functools

import jax
import numpy as np
import pytest

from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_masked_images import IMAGES
from tests.objectives.test_rows import PATCHES, stack
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.mask_align import layers_of
from xfm.objectives.masks import Split, split_of

LAYERS = [dict(kind="attention", heads=2), dict(kind="mlp", hidden=8)]
STUDENT = dict(stack(PATCHES), pattern=LAYERS, repeats=3, taps=(1, 2, 3))
TEACHER = dict(stack(dict(PATCHES, width=6, position=dict(kind="none"))), pattern=LAYERS, repeats=3)
RATE = dict(kind="random", rate=0.5)


def objective(network=STUDENT, teacher=TEACHER, **fields):
    spec = dict(kind="mask_align", teacher=dict(network=teacher), read=(2, 3), width=6, mask=RATE)
    return build_objective(dict(model=network, objective=spec | fields), None)


@functools.cache
def align():
    one = objective()
    params, extra = shapes(one.init, {"images": IMAGES})
    return one, noise(params, seed=1), noise(extra, seed=3)


def test_the_loss_by_hand():
    """Mixtures of all layers and a linear map each, against whitened features of the whole image."""
    one, params, extra = align()
    choose, _ = jax.random.split(hashed(4))
    split = jax.device_get(split_of(RATE, (2, 2), IMAGES, choose))
    assert split.visible.shape == (6, 6)
    given = {"images": IMAGES, "visible": split.visible}
    made = layers_of(jax.jit(lambda p: one.model.apply({"params": p}, given))(params))
    assert [x.shape for x in made.values()] == [(6, 7, 8)] * 3, "a class token and the visible patches"
    seen = jax.jit(lambda p: one.networks["teacher"].apply({"params": p}, {"images": IMAGES}))(extra["teacher"])
    own, losses, of_mean = jax.device_get(params["alignment"]), [], []
    for row, layer in enumerate((2, 3)):
        mixture = sum(own["mix"][row, s] * np.asarray(made[f"layer_{s + 1}"], np.float64) for s in range(3))
        aligned = mixture @ own[f"out_{layer}"]["kernel"] + own[f"out_{layer}"]["bias"]
        x = np.asarray(seen[f"layer_{layer}"], np.float64)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        rest = np.abs(x - x.mean(0))
        x, rest = (
            np.stack([each[[0, *(1 + n)]] for each, n in zip(whole, split.visible, strict=True)]) for whole in (x, rest)
        )
        for apart, found in ((np.abs(aligned - x), losses), (rest, of_mean)):
            found.append(2 * np.where(apart < 1, apart**2 / 2, apart - 0.5).mean())
    loss, metrics, _ = jax.jit(lambda p, e: one.loss(p, e, {"images": IMAGES}, hashed(4)))(params, extra)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5) and metrics["loss"][1] == 6 * 7
    total, count = metrics["mean_image"]
    assert float(total / count) == pytest.approx(np.mean(of_mean), rel=1e-5)


def test_features_depend_on_visible_patches_and_targets_on_all():
    one, params, extra = align()
    split = jax.device_get(split_of(RATE, (2, 2), IMAGES, hashed(1)))
    changed, (i, j) = IMAGES.copy(), divmod(split.hidden[2, 3], 4)
    changed[2, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 3.0
    run = jax.jit(lambda x: (one.aligned(params, {"images": x}, split)[0], one.targets(extra["teacher"], x, split)))
    before, after = run(IMAGES), run(changed)
    for name in ("layer_2", "layer_3"):
        np.testing.assert_array_equal(before[0][name], after[0][name])
        assert np.abs(before[1][name] - after[1][name])[2].max() > 1e-3


def test_a_copy_of_the_teacher_has_no_loss_where_nothing_is_hidden():
    """With maps that change nothing and the weights of each layer all on its own."""
    one = objective(network=dict(TEACHER, taps=(1, 2, 3)), scale="none", distance="squared")
    params, extra = shapes(one.init, {"images": IMAGES})
    teacher = noise(extra, seed=3)["teacher"]
    own = {f"out_{n}": dict(kernel=np.eye(6, dtype=np.float32), bias=np.zeros(6, np.float32)) for n in (2, 3)}
    params = {**teacher, "alignment": dict(own, mix=np.eye(3, dtype=np.float32)[1:])}
    everything = Split(np.tile(np.arange(12), (6, 1)), np.zeros((6, 0), np.int32))

    @jax.jit
    def pair(images):
        return one.aligned(params, {"images": images}, everything)[0], one.targets(teacher, images, everything)

    aligned, wanted = pair(IMAGES)
    for name in wanted:
        np.testing.assert_allclose(aligned[name], wanted[name], atol=1e-6)


def test_how_the_weights_of_layers_start_and_what_trains():
    one = objective()
    params, extra = jax.jit(one.init)(hashed(0), {"images": IMAGES})
    np.testing.assert_allclose(params["alignment"]["mix"], [[0.01, 1.01, 0.01], [0.01, 0.01, 1.01]], rtol=1e-6)
    _, params, extra = align()
    slopes = jax.jit(jax.grad(lambda e: one.loss(params, e, {"images": IMAGES}, hashed(4))[0]))(extra)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes))


def test_what_does_not_fit_is_refused():
    with pytest.raises(XfmError, match="mask_align needs a teacher: set config.objective.teacher.source"):
        objective().__class__(model=objective().model)
    batch = {"images": IMAGES}
    with pytest.raises(
        XfmError, match="layer 3 of the teacher is read, and the network puts out layer_1, layer_2; let"
    ):
        jax.eval_shape(objective(network=dict(STUDENT, taps=(1, 2))).init, jax.random.key(0), batch)
    one = objective(teacher=dict(TEACHER, embed=dict(TEACHER["embed"], cls=0)))
    params, extra = shapes(one.init, batch)
    with pytest.raises(XfmError, match="the teacher has 0 tokens before the patches and the network 1"):
        jax.eval_shape(lambda p, e: one.loss(p, e, batch, jax.random.key(0))[0], params, extra)
