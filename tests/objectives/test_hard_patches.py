"""HPM: the ranking loss by pairs, the mask by the teacher's predictions, and which decoder learns of what.

Takes eight seconds.
"""

import functools

import jax
import numpy as np
import pytest

from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_masked_images import IMAGES
from tests.objectives.test_rows import OF_LOSSES
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.hard_patches import rank_correlation, ranking
from xfm.objectives.masks import mask_of
from xfm.paths import flatten

MASK = dict(kind="by_loss", rate=0.5, hard=(0.0, 1.0))


def objective(**fields):
    spec = dict(kind="hard_patches", mask=MASK, over=10, weight=0.5, momentum=(0.9, 0.5, 10))
    return build_objective(dict(model=OF_LOSSES, objective=spec | fields), None)


@functools.cache
def hard():
    one = objective()
    params, extra = shapes(one.init, {"images": IMAGES})
    return one, noise(params, seed=1), noise(extra, seed=3)


def test_the_ranking_loss_pair_by_pair():
    """Each pair counts once, from the side of the harder patch; equal losses are no pair."""
    rng = np.random.default_rng(0)
    scores, losses = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    losses[1, 2] = losses[1, 4]
    losses[2] = 1.0
    wanted = []
    for s, true in zip(scores.astype(np.float64), losses, strict=True):
        pairs = [(i, j) for i in range(5) for j in range(5) if true[i] > true[j]]
        wanted.append(np.mean([-np.log(1 / (1 + np.exp(s[j] - s[i]))) for i, j in pairs] or [0.0]))
    np.testing.assert_allclose(ranking(scores, losses), wanted, rtol=1e-5)
    assert not np.asarray(jax.grad(lambda y: ranking(scores, y).sum())(losses)).any()
    assert float(ranking(losses[:1] * 50, losses[:1])[0]) < 1e-3, "scores in the order of the losses"


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 4, 9)).astype(np.float32)
    rank = [np.argsort(np.argsort(z, axis=1), axis=1) for z in (x, y)]
    wanted = 1 - 6 * ((rank[0] - rank[1]) ** 2).sum(1) / (9 * 80)
    np.testing.assert_allclose(rank_correlation(x, y), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rank_correlation(x, -np.exp(x)), -1, rtol=1e-5)


def teachers_scores(one, extra):
    """The mean of the head "losses", by a run of the teacher over all patches, which are all visible."""
    given = {"images": IMAGES, "visible": np.tile(np.arange(12), (6, 1)), "predicted": np.zeros((6, 0), np.int32)}
    run = jax.jit(lambda p: one.model.apply({"params": p}, given)["losses"])
    return np.asarray(run(extra["teacher"])).mean(-1)


def test_masks_go_from_uniform_to_the_patches_of_which_the_teacher_predicts_the_highest_loss():
    one, params, extra = hard()
    split = jax.jit(lambda step: one.split(IMAGES, extra["teacher"], hashed(5), step))
    scores = teachers_scores(one, extra)
    plain = mask_of(dict(kind="random", rate=0.5))(hashed(5), 6, (3, 4))
    np.testing.assert_array_equal(split(0).hidden, plain.hidden)
    np.testing.assert_array_equal(split(10).hidden, np.sort((-scores).argsort(1)[:, :6], 1))
    half = np.asarray(split(5).mask(12))
    assert np.take_along_axis(half, (-scores).argsort(1)[:, :3], 1).all() and (half.sum(1) == 6).all()


def test_the_loss_by_hand():
    """Pixels and predicted losses at the hidden patches of one network, whose mask is the teacher's."""
    one, params, extra = hard()
    choose, _ = jax.random.split(hashed(4))
    split = jax.device_get(one.split(IMAGES, extra["teacher"], choose, 10))
    given = {"images": IMAGES, "visible": split.visible, "predicted": split.hidden}
    out = jax.jit(lambda p: one.model.apply({"params": p}, given))(params)
    made, scores = np.asarray(out["patches"])[:, -6:], np.asarray(out["losses"])[:, -6:].mean(-1)
    x = IMAGES.reshape(6, 3, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(6, 12, 4)
    each = ((made - np.take_along_axis(x, split.hidden[..., None], 1)) ** 2).mean(-1)
    loss, metrics, _ = jax.jit(lambda p, e: one.loss(p, e, {"images": IMAGES}, hashed(4), step=10))(params, extra)
    ranked = float(np.mean(ranking(scores, each)))
    assert float(loss) == pytest.approx(each.mean() + 0.5 * ranked, rel=1e-5)
    assert float(metrics["ranking_loss"][0] / 6) == pytest.approx(ranked, rel=1e-5)
    assert metrics["loss"][1] == 36 and -1 <= float(metrics["rank_correlation"][0]) / 6 <= 1


def test_the_predictor_of_losses_learns_by_ranking_alone_and_the_teacher_follows():
    one, params, extra = hard()
    pixels = objective(weight=0.0)
    slopes = jax.jit(jax.grad(lambda p, e: pixels.loss(p, e, {"images": IMAGES}, hashed(4))[0], argnums=(0, 1)))
    of_params, of_extra = slopes(params, extra)
    for path, leaf in flatten(of_params).items():
        if not path.endswith("k/bias"):
            assert np.any(leaf) != path.startswith("decoder_inner_0/"), path
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_extra))
    after = flatten(one.after_update(params, extra, 5)["teacher"])
    for path, leaf in flatten(params).items():
        np.testing.assert_allclose(
            after[path], 0.7 * flatten(extra["teacher"])[path] + 0.3 * leaf, rtol=1e-4, atol=1e-6
        )


def test_what_does_not_fit_is_refused():
    with pytest.raises(XfmError, match="cannot use the mask 'random'; choose by_loss"):
        objective(mask=dict(kind="random"))
    with pytest.raises(XfmError, match="the target of hard_patches keeps nothing between steps, and 'codes' does"):
        objective(target=dict(kind="codes"))
