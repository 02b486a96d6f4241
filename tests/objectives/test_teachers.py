"""Self-distillation against its formulas and DINOv2's algorithm, and distillation from a frozen teacher.

Takes fifteen seconds.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_rows import CLASSES, LABEL, PATCHES, example, stack
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.distillation import soft
from xfm.objectives.self_distillation import compared, koleo, sinkhorn
from xfm.objectives.stored_distillation import dense, sparse


def softmax(x, axis=-1):
    x = np.exp(np.asarray(x, np.float64) - np.max(x, axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def test_sinkhorn_equals_the_scaling_of_rows_and_columns():
    """As DINOv2's program has it: Q / sum, then each prototype to 1 / K and each row to 1 / B, three times, times B."""
    logits = np.random.default_rng(0).normal(size=(7, 5)) * 3
    q = np.exp(logits).T
    q /= q.sum()
    for _ in range(3):
        q /= q.sum(1, keepdims=True) * 5
        q /= q.sum(0, keepdims=True) * 7
    got = sinkhorn(np.concatenate([logits, np.full((2, 5), 9.0)]), np.array([1.0] * 7 + [0] * 2))
    np.testing.assert_allclose(got[:7], (q * 7).T, rtol=1e-5)
    assert not np.asarray(got[7:]).any()
    even = np.asarray(sinkhorn(logits, np.ones(7), 60))
    np.testing.assert_allclose(even.sum(0), 7 / 5, rtol=1e-4)


def test_koleo_is_the_distance_to_the_nearest_row():
    x = np.random.default_rng(0).normal(size=(6, 3))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    apart = np.linalg.norm(unit[:, None] - unit, axis=-1) + 9 * np.eye(6)
    got = koleo(np.concatenate([x, x[:1]]).astype(np.float32), np.array([1.0] * 6 + [0]))
    np.testing.assert_allclose(got[:6], -np.log(apart.min(1)), rtol=1e-4)


def test_views_are_compared_with_the_other_large_views():
    """Caron et al. 2021, equation 3, written out."""
    rng = np.random.default_rng(0)
    logits, chances = rng.normal(size=(4, 3, 5)).astype(np.float32), softmax(rng.normal(size=(2, 3, 5)))
    each = [-(chances[g] * np.log(softmax(logits[v] / 0.2))).sum(-1) for g in range(2) for v in range(4) if v != g]
    np.testing.assert_allclose(compared(logits, chances.astype(np.float32), 0.2), np.mean(each, 0), rtol=1e-5)


@functools.cache
def dino(name="self_distillation of images"):
    one, params, batch = example(name)
    return one, params, noise(shapes(one.init, batch)[1], seed=3), batch


def test_the_loss_and_the_centre_by_hand():
    """Of two equal views: teacher centred and sharpened, student not centred; then the centre moves by a tenth."""
    one, params, extra, batch = dino()
    run = jax.jit(one.model.apply)
    logits = [np.asarray(run({"params": p}, batch)["prototypes"]) for p in (params, extra["teacher"])]
    centre = np.asarray(extra["centre"]["prototypes"])
    chances = softmax((logits[1] - centre) / (0.4 + 0.3 * 0.5))
    wanted = -(chances * np.log(softmax(logits[0] / 0.5))).sum(-1).mean()
    loss, metrics, after = jax.jit(lambda p, e: one.loss(p, e, batch, hashed(2), step=5))(params, extra)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    moved = 0.9 * centre + 0.1 * logits[1].mean(0)
    np.testing.assert_allclose(after["centre"]["prototypes"], moved, rtol=1e-5, atol=1e-6)
    entropy = -(chances * np.log(chances)).sum(-1).mean()
    assert float(metrics["teacher_entropy"][0] / metrics["teacher_entropy"][1]) == pytest.approx(entropy, rel=1e-5)
    mean = chances.mean(0)
    assert float(metrics["prototype_use"][0]) == pytest.approx(np.exp(-(mean * np.log(mean)).sum()), rel=1e-5)
    slopes = jax.jit(jax.grad(lambda e: one.loss(params, e, batch, hashed(2))[0]))(extra)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(slopes))
    followed = one.after_update(params, extra, 0)["teacher"]["embed"]["patch"]["kernel"]
    old, new = (tree["embed"]["patch"]["kernel"] for tree in (extra["teacher"], params))
    np.testing.assert_allclose(followed, 0.996 * old + 0.004 * new, rtol=1e-5, atol=1e-7)


def test_small_views_teach_nobody():
    """Another small view changes the loss, and neither the teacher's figures nor its centre."""
    one, params, extra, batch = dino("self_distillation of views")
    run = jax.jit(lambda b: one.loss(params, extra, b, hashed(2)))
    loss, metrics, after = run(batch)
    other, same, kept = run({**batch, "local_0/images": 2 + batch["local_0/images"]})
    assert float(loss) != float(other) and float(metrics["patch_loss"][0]) == float(same["patch_loss"][0])
    jax.tree.map(np.testing.assert_array_equal, after["centre"], kept["centre"])
    for name in ("teacher_entropy", "prototype_use", "rank", "koleo_loss"):
        assert float(metrics[name][0]) == float(same[name][0]), name


def test_a_collapse_stops_the_run_with_a_sentence():
    one, *_ = dino()
    fine = dict(prototype_use=3.0, teacher_entropy=1.0, rank=4.0)
    assert one.failure(5000, fine) is None
    for name, value, said in (
        ("prototype_use", 1.2, "assigns all images to one of 5 prototypes"),
        ("teacher_entropy", np.log(5), "assigns every image to all 5 prototypes alike"),
        ("rank", 1.01, "the features of all images lie on one line"),
    ):
        assert said in one.failure(5000, {**fine, name: value})
        assert one.failure(10, {**fine, name: value}) is None, "not before `grace`"


def test_distillation_by_hand():
    """DeiT's equations 2 and 3; the teacher gets no gradient and stays as it is."""
    one, params, batch = example("distillation")
    extra = noise(shapes(one.init, batch)[1], seed=3)
    teacher = one.networks["teacher"]
    taught = np.asarray(jax.jit(teacher.apply)({"params": extra["teacher"]}, batch)["label"])
    out = jax.jit(one.model.apply)({"params": params}, batch)
    rows = np.arange(len(CLASSES))
    ways = (("label", CLASSES), ("distillation", taught.argmax(-1)))
    label, hard = (-np.log(softmax(out[name])[rows, at]).mean() for name, at in ways)
    loss, metrics, after = jax.jit(lambda p, e: one.loss(p, e, batch, hashed(2)))(params, extra)
    assert float(loss) == pytest.approx((label + hard) / 2, rel=1e-5) and after is not None
    p, q = softmax(taught / 3), softmax(np.asarray(out["label"]) / 3)
    np.testing.assert_allclose(soft(out["label"], taught, 3.0), 9 * (p * np.log(p / q)).sum(-1), rtol=1e-4, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after["teacher"], extra["teacher"])
    with pytest.raises(XfmError, match="distillation needs a teacher"):
        build_objective(dict(model=stack(PATCHES, label=LABEL), objective=dict(kind="distillation", classes=3)), None)


def test_stored_answers_of_all_classes_are_the_whole_teacher():
    """With them the loss is Hinton's at a temperature of 1, up to the teacher's own entropy: value and gradients."""
    one, params, batch = example("stored_distillation")
    logits = np.random.default_rng(0).normal(size=(len(CLASSES), 3)).astype(np.float32) * 2
    shares, named = sparse(logits, 3)
    batch = {**batch, "taught/shares": shares, "taught/classes": named}

    def whole(params):
        out = one.model.apply({"params": params}, batch)["label"]
        p = jax.nn.softmax(logits)
        return soft(out, logits, 1.0).mean() - (p * jnp.log(p)).sum(-1).mean()

    stored = jax.jit(jax.value_and_grad(lambda p: one.loss(p, {}, batch, hashed(2))[0]))(params)
    assert_close(stored, jax.jit(jax.value_and_grad(whole))(params))


def test_what_stored_shares_lack_is_spread_evenly():
    shares, named = np.float32([[0.5, 0.3], [0.75, 0.25]]), np.array([[3, 0], [1, 2]])
    assert_close(dense(shares, named, 4), np.float32([[0.3, 0.1, 0.1, 0.5], [0, 0.75, 0.25, 0]]))
    found = sparse(np.log(np.float32([[0.1, 0.2, 0.7]])), 2)
    assert_close(found[0], np.float32([[0.7, 0.2]]))
    assert found[1].tolist() == [[2, 1]]


def test_the_teacher_is_read_from_a_run(tmp_path):
    """Its network and weights are those of the run; nothing trains it, and a run goes on from its checkpoint."""
    from xfm.configs.vision import vit
    from xfm.train import train

    def config(**objective):
        c = vit.get_config("tiny")
        c.model = stack(dict(PATCHES, width=4), label=dict(LABEL, classes=10))
        c.steps, c.batch, c.log_every, c.eval_every, c.save_every, c.evals = 2, 8, 1, 2, 2, []
        c.schedule = dict(kind="constant", peak=1e-3)
        c.objective = dict(kind="classification", classes=10) | objective
        c.eval_steps, c.data = 1, dict(kind="images", size=4, validation=0.05)
        return c

    first = train(config(), tmp_path / "teacher")
    own = dict(kind="distillation", taught="label", teacher=dict(source=str(tmp_path / "teacher")))
    second = train(config(**own), tmp_path / "student")
    jax.tree.map(np.testing.assert_array_equal, dict(second.state.extra["teacher"]), dict(first.state.params))
    assert second.valid.keys() >= {"loss", "taught_loss", "accuracy", "agreement"}
