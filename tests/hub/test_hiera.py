"""Hiera's pre-training from its files: transformers' logits and loss, and what noise hides. Takes six seconds."""

import json

import jax
import numpy as np
import pytest

from tests.hub.test_parity import GOLDENS, checkpoint, close
from xfm.errors import XfmError
from xfm.hub.matching import match
from xfm.initial import initial_shapes
from xfm.objectives import build_objective
from xfm.objectives.masks import Split
from xfm.paths import flatten

LOSS = 1.9414654  # of transformers' HieraForPreTraining in this case, by `model(**inputs).loss`
PIXELS = dict(kind="pixels", scale="patch", order="channels_first")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "hiera_pretraining.npz") as file:
        return {key: file[key] for key in file.files}


def test_pre_training_continues_with_the_checkpoints_network_and_has_its_loss(golden, tmp_path):
    """Units of 4 x 4 pixels, of which the least noise is visible."""
    m = checkpoint(golden, str(golden["config"]), tmp_path)
    images, noise = golden["input/pixel_values"].transpose(0, 2, 3, 1), golden["input/noise"]
    kind = dict(kind="masked_images", mask=dict(kind="random", rate=0.6), target=PIXELS)
    one = build_objective(dict(model=m.spec, objective=kind), None)
    assert one.model.patch == (4, 4) and one.split(images, jax.random.key(0)).hidden.shape == (2, 8)
    shapes = flatten(initial_shapes(one.model, {"images": images})["params"])
    assert {path: x.shape for path, x in shapes.items()} == {path: x.shape for path, x in flatten(m.params).items()}
    order = np.argsort(noise, axis=1)
    split = Split(order[:, :4], order[:, 4:])  # in any order
    predicted, _ = jax.jit(lambda params: one.predicted(params, {"images": images}, split))(m.params)
    close(predicted, np.take_along_axis(golden["output/logits"], split.hidden[..., None], axis=1), "logits")
    wanted = np.take_along_axis(one.wanted.of({}, images, one.model.patch), split.hidden[..., None], axis=1)
    assert float(one.wanted.measured(predicted, wanted)["loss"].mean()) == pytest.approx(LOSS, rel=1e-5)
    assert match(m.spec).settings.content["architectures"] == ["HieraForPreTraining"]


def test_noise_hides_units_and_without_it_nothing_is_hidden(golden, tmp_path):
    m = checkpoint(golden, str(golden["config"]), tmp_path)
    images, noise = golden["input/pixel_values"], golden["input/noise"]
    whole = m(pixel_values=images)
    assert whole["last_hidden_state"].shape == (2, 12, 16) and "logits" not in whole
    out = m(pixel_values=images, noise=noise)
    assert out["last_hidden_state"].shape == (2, 4, 16) and out["logits"].shape == (2, 12, 48)
    assert (out["bool_masked_pos"] == (noise.argsort(1).argsort(1) < 4)).all()
    with pytest.raises(XfmError, match=r"noise has the shape \(2, 11\) and is int32; it must be \(2, 12\)"):
        m(pixel_values=images, noise=noise[:, 1:])
    config = json.loads(str(golden["config"]))
    with pytest.raises(XfmError, match="sets decoder_depth to None; it must be a whole number of at least 1"):
        checkpoint(golden, json.dumps({**config, "decoder_depth": None}), tmp_path)
    with pytest.raises(XfmError, match="an image of 12 x 14 does not divide into units of 4 x 4"):
        m(images=images.transpose(0, 2, 3, 1)[:, :, :14], noise=noise[:, :9])
