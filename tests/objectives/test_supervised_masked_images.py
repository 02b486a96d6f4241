"""Supervised learning with masked images: both losses by their formulas, and that inference is the plain network.

Takes five seconds.
"""

import functools

import jax
import numpy as np
import pytest

import xfm
from tests.drawn import noise, shapes
from tests.keys import key as hashed
from tests.objectives.test_masked_images import DECODER, IMAGES
from tests.objectives.test_rows import CLASSES, MEAN_LABEL, stack
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.objectives.masks import split_of

NETWORK = dict(DECODER, heads=dict(label=MEAN_LABEL))
RATE = dict(kind="random", rate=0.5)
BATCH = {"images": IMAGES, "labels": CLASSES}


def objective(network=NETWORK, **fields):
    spec = dict(kind="supervised_masked_images", classes=3, mask=RATE, target=dict(kind="pixels"), weight=0.5)
    return build_objective(dict(model=network, objective=spec | fields), None)


@functools.cache
def both():
    one = objective()
    return one, noise(shapes(one, BATCH)[0], seed=1)


def test_the_loss_by_hand():
    """Cross-entropy of the whole images, and squared distances of the hidden patches alone."""
    one, params = both()
    split = jax.device_get(split_of(RATE, (2, 2), IMAGES, jax.random.split(jax.random.split(hashed(4))[1], 3)[0]))
    run = jax.jit(lambda batch: one.model.apply({"params": params}, batch))
    logits = np.asarray(run({"images": IMAGES})["label"], np.float64)
    of_labels = np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(6), CLASSES])
    made = run({"images": IMAGES, "visible": split.visible, "predicted": split.hidden})["patches"]
    x = IMAGES.reshape(6, 3, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(6, 12, 4)
    of_patches = ((np.asarray(made)[:, -6:] - np.take_along_axis(x, split.hidden[..., None], 1)) ** 2).mean()
    loss, metrics, _ = jax.jit(lambda p: one.loss(p, {}, BATCH, hashed(4)))(params)
    assert float(metrics["loss"][0] / metrics["loss"][1]) == pytest.approx(of_labels, rel=1e-5)
    assert float(metrics["masked_loss"][0] / metrics["masked_loss"][1]) == pytest.approx(of_patches, rel=1e-5)
    assert float(loss) == pytest.approx(of_labels + 0.5 * of_patches, rel=1e-5)


def test_inference_has_the_parameters_and_outputs_of_the_plain_network():
    one, params = both()
    plain = xfm.build({**{k: v for k, v in NETWORK.items() if k != "decoder"}, "kind": "stack"})
    own = {name: p for name, p in params.items() if name != "decoder"}
    assert jax.tree.map(np.shape, own) == jax.tree.map(np.shape, dict(shapes(plain, {"images": IMAGES})["params"]))
    whole = jax.jit(lambda p: one.model.apply({"params": p}, {"images": IMAGES}))(params)
    alone = jax.jit(lambda p: plain.apply({"params": p}, {"images": IMAGES}))(own)
    assert whole.keys() == alone.keys() == {"hidden", "label"}
    np.testing.assert_array_equal(whole["label"], alone["label"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(XfmError, match="supervised_masked_images needs a network of kind 'autoencoder'"):
        objective(network=stack(NETWORK["embed"], label=MEAN_LABEL))
    with pytest.raises(XfmError, match="set classes to the number of labels"):
        objective(classes=0)
