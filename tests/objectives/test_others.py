"""Causal language modelling and classification: what is counted, and how images and labels are mixed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import begun, loss_of, run
from xfm.errors import XfmError
from xfm.objectives.causal_lm import CausalLM
from xfm.objectives.classification import Classification
from xfm.objectives.mix import cutmix, mixup
from xfm.transforms.redraw import redraw

V, B, T = 20, 4, 12


def causal():
    spec = dict(
        kind="stack", embed=dict(kind="tokens", vocab=V, width=16), mask="causal",
        pattern=[dict(kind="attention", heads=2)], heads=dict(lm=dict(kind="mlm", vocab=V)),
    )  # fmt: skip
    return CausalLM(model=xfm.build(spec))


def test_causal_lm_counts_the_next_token_of_the_same_segment():
    one = causal()
    tokens = np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)
    segments = np.broadcast_to(np.array([1] * 5 + [2] * 4 + [0] * 3), (B, T))
    params, extra = begun(one, {"tokens": tokens})
    loss, metrics, _ = loss_of(one, params, extra, {"tokens": tokens, "segments": segments}, jax.random.key(2))
    assert metrics["loss"][1] == B * (4 + 3)
    total = 0.0
    for part in (slice(0, 5), slice(5, 9)):
        logs = jax.nn.log_softmax(run(one.model, {"params": params}, {"tokens": tokens[:, part]})["lm"])
        total -= np.take_along_axis(np.asarray(logs)[:, :-1], tokens[:, part][:, 1:, None], axis=-1).sum()
    assert_close(loss, total / (B * 7))


def classifier(**fields):
    spec = dict(
        kind="stack", embed=dict(kind="patches", patch=2, width=16),
        pattern=[dict(kind="mlp", hidden=16)], heads=dict(label=dict(kind="classification", classes=3)),
    )  # fmt: skip
    return Classification(model=xfm.build(spec), classes=3, **fields)


def batch():
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
    return {"images": images, "labels": np.array([0, 1, 2, 0, 1, 2])}


def test_label_smoothing_spreads_weight_in_training_only():
    one = classifier(smoothing=0.3)
    params, extra = begun(one, batch())
    logs = np.asarray(jax.nn.log_softmax(run(one.model, {"params": params}, batch())["label"]))
    hard = np.eye(3)[batch()["labels"]]
    key = jax.random.key(2)
    assert_close(
        loss_of(one, params, extra, batch(), key, train=False)[0],
        -(hard * logs).sum(-1).mean(),
    )
    assert_close(loss_of(one, params, extra, batch(), key)[0], -((0.7 * hard + 0.1) * logs).sum(-1).mean())


def test_one_logit_is_a_logistic_function_of_two_classes():
    logit, labels = np.float32([[2.0], [-0.5], [0.3]]), np.array([1, 1, 0])

    class One:
        def apply(self, *args, **kwargs):
            return {"label": logit}, {}

    one = Classification(model=One(), classes=2)
    loss, metrics, _ = loss_of(one, {}, {}, {"labels": labels}, jax.random.key(0))
    assert_close(loss, np.log1p(np.exp([-2.0, 0.5, 0.3])).mean(), of="loss")
    assert int(metrics["accuracy"][0]) == 1


def test_mixup_blends_images_and_labels_alike():
    labels = np.eye(4, dtype=np.float32)
    images = labels[:, :, None, None] + np.zeros((4, 4, 2, 1), np.float32)
    mixed, soft = map(np.asarray, jax.jit(partial(mixup, alpha=1.0))(images, labels, rng=jax.random.key(0)))
    assert_close(mixed[:, :, 0, 0], soft)
    assert_close(soft.sum(1), np.ones(4))
    assert soft.max() < 1 and len(np.unique(np.asarray(soft.max(1)))) > 1


def test_cutmix_shares_labels_by_area():
    images = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None, None], (4, 16, 16, 1))
    mixing = jax.jit(partial(cutmix, alpha=1.0))
    for seed in range(5):
        mixed, soft = map(np.asarray, mixing(images, np.eye(4, dtype=np.float32), rng=jax.random.key(seed)))
        for row in range(4):
            own = (mixed[row] == row).mean()
            assert abs(own - soft[row, row]) < 1e-6
            kept = mixed[row, :, :, 0] == row
            rows, columns = (~kept).any(1), (~kept).any(0)
            assert (~kept == np.outer(rows, columns)).all(), "the box is a box"


def test_mixing_happens_in_training_only_and_wants_images():
    one = classifier(mixup=0.8, cutmix=1.0)
    params, extra = begun(one, batch())
    losses = {float(loss_of(one, params, extra, batch(), jax.random.key(i))[0]) for i in range(6)}
    assert len(losses) == 6
    plain = loss_of(classifier(), params, extra, batch(), jax.random.key(2), train=False)[0]
    assert loss_of(one, params, extra, batch(), jax.random.key(0), train=False)[0] == plain
    with pytest.raises(XfmError, match="set classes"):
        Classification(model=one.model)


def test_redraw_follows_the_first_rule_and_says_which_match_nothing():
    params = {"a": {"kernel": jnp.ones((300, 300)), "bias": jnp.ones(4)}, "b": {"kernel": jnp.ones((2, 3))}}
    rules = [("a/kernel", dict(kind="truncated_normal", std=0.02)), ("kernel", dict(kind="constant", value=3.0))]
    drawn = redraw(params, rules, jax.random.key(0))
    assert (drawn["b"]["kernel"] == 3).all() and (drawn["a"]["bias"] == 1).all()
    kernel = np.asarray(drawn["a"]["kernel"])
    assert np.abs(kernel).max() <= 0.04 and abs(kernel.std() - 0.02 * 0.8796) < 2e-4  # the deviation once cut at two
    other = redraw({**params, "c": jnp.ones(3)}, rules, jax.random.key(0))
    assert (other["a"]["kernel"] == drawn["a"]["kernel"]).all(), "a new parameter changes no other"
    same = {name: {"kernel": jnp.ones((40, 50))} for name in "abc"}
    rules = [("a|b", dict(kind="normal", std=0.5)), ("c", dict(kind="uniform", low=-1.0, high=3.0))]
    a, b, c = (np.asarray(leaf["kernel"]) for leaf in redraw(same, rules, jax.random.key(0)).values())
    assert abs(a.std() - 0.5) < 0.04 and np.abs(a - b).min() > 0, "each path has numbers of its own"
    assert -1 <= c.min() < -0.9 and 2.9 < c.max() <= 3
    with pytest.raises(XfmError, match="no parameter's path matches .'kernl'.; one path is 'a/kernel'"):
        redraw(params, [("kernl", dict(kind="constant", value=0.0))], jax.random.key(0))
    with pytest.raises(XfmError, match="no initial value 'constnt' .did you mean 'constant'"):
        redraw(params, [("kernel", dict(kind="constnt", value=0.0))], jax.random.key(0))
