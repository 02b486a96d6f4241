"""MP3: the loss by its formula, and that patches have no positions and those outside the context no influence.

Takes five seconds.
"""

import functools

import jax
import numpy as np
import pytest

from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_masked_images import IMAGES
from tests.objectives.test_rows import PATCHES, stack
from xfm.errors import XfmError
from xfm.evaluators.pictures import unpatchify
from xfm.objectives import build_objective
from xfm.objectives.masks import split_of
from xfm.parts.embed.patchify import patchify

RATE = dict(kind="random", rate=0.5)
NETWORK = dict(
    stack(
        dict(PATCHES, cls=0, position=dict(kind="none")),
        positions=dict(kind="of_patches", head=dict(kind="tagging", classes=12)),
    ),
    pattern=[dict(kind="attention", heads=2), dict(kind="mlp", hidden=8)],
    repeats=2,
)  # fmt: skip


def objective(network=NETWORK):
    return build_objective(dict(model=network, objective=dict(kind="position_prediction", mask=RATE)), None)


@functools.cache
def mp3():
    one = objective()
    params = noise(shapes(one, {"images": IMAGES})[0], seed=1)
    split = jax.device_get(split_of(RATE, (2, 2), IMAGES, jax.random.split(hashed(4))[0]))
    run = jax.jit(
        lambda images, heard: one.model.apply({"params": params}, {"images": images, "heard": heard})["positions"]
    )
    return one, params, np.asarray(~split.mask(12)), run


def test_the_loss_is_the_cross_entropy_of_every_patch():
    one, params, context, run = mp3()
    logits = np.asarray(run(IMAGES, context), np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    wanted = -np.log(chances[:, np.arange(12), np.arange(12)]).mean()
    loss, metrics, _ = jax.jit(lambda p: one.loss(p, {}, {"images": IMAGES}, hashed(4)))(params)
    assert float(loss) == pytest.approx(wanted, rel=1e-5) and metrics["loss"][1] == 6 * 12
    assert float(metrics["accuracy"][0]) == (logits.argmax(-1) == np.arange(12)).sum()


def test_logits_move_with_their_patches():
    """A permutation of the patches, and of the context with them, permutes the logits."""
    _, _, context, run = mp3()
    order = np.random.default_rng(2).permutation(12)
    moved = np.asarray(unpatchify(patchify(IMAGES, (2, 2))[:, order], (2, 2), (3, 4)))
    np.testing.assert_allclose(run(moved, context[:, order]), np.asarray(run(IMAGES, context))[:, order], atol=1e-5)


def test_a_patch_outside_the_context_has_no_influence_on_others():
    """Exactly; a patch of the context has influence on all."""
    _, _, context, run = mp3()
    before = np.asarray(run(IMAGES, context))
    for number in (np.flatnonzero(~context[2])[1], np.flatnonzero(context[2])[1]):
        changed, (i, j) = IMAGES.copy(), divmod(number, 4)
        changed[2, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 3.0
        apart = np.abs(np.asarray(run(changed, context)) - before).max(-1)
        assert apart[2, number] > 0 and not np.delete(apart, 2, 0).any()
        assert (np.delete(apart[2], number) > 0).all() == context[2, number]
        assert (np.delete(apart[2], number) > 0).any() == context[2, number]


def test_the_loss_starts_at_the_logarithm_of_the_number_of_patches():
    """As the config draws its parameters."""
    from xfm.configs.vision import mp3 as config

    c = config.get_config("tiny")
    one = build_objective(c, None)
    images = np.random.default_rng(3).normal(size=(8, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def begun(key):
        return one.loss(one.init(key, {"images": images})[0], {}, {"images": images}, key)[0]

    assert float(begun(hashed(0))) == pytest.approx(np.log(16), abs=0.05)


def test_another_number_of_patches_is_refused():
    one = objective(dict(NETWORK, heads=dict(positions=dict(kind="tagging", classes=9))))
    params, _ = shapes(one, {"images": IMAGES})
    with pytest.raises(XfmError, match="the head 'positions' has 9 classes, and an image has 12 patches"):
        jax.eval_shape(lambda p: one.loss(p, {}, {"images": IMAGES}, jax.random.key(0))[0], params)
