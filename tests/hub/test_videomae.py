"""VideoMAE's pre-training from its files: transformers' loss, and what `bool_masked_pos` must be. Four seconds."""

import json

import jax
import numpy as np
import pytest

from tests.hub.test_parity import GOLDENS, checkpoint
from xfm.errors import XfmError
from xfm.initial import initial_shapes
from xfm.objectives import build_objective
from xfm.objectives.masks import Split
from xfm.paths import flatten

LOSS = 1.8005788  # of transformers' VideoMAEForPreTraining in this case, by `model(**inputs).loss`
PIXELS = dict(kind="pixels", scale="channel")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "videomae_pretraining.npz") as file:
        return {key: file[key] for key in file.files}


def test_pre_training_continues_with_the_checkpoints_network_and_has_its_loss(golden, tmp_path):
    """The objective's target is the pixels of each channel of a hidden tubelet, normalised."""
    m = checkpoint(golden, str(golden["config"]), tmp_path)
    video, hidden = golden["input/pixel_values"].transpose(0, 1, 3, 4, 2), golden["input/bool_masked_pos"]
    kind = dict(kind="masked_images", mask=dict(kind="tube", rate=0.5), target=PIXELS)
    one = build_objective(dict(model=m.spec, objective=kind), None)
    shapes = flatten(initial_shapes(one.model, {"video": video})["params"])
    assert {path: x.shape for path, x in shapes.items()} == {path: x.shape for path, x in flatten(m.params).items()}
    order = np.argsort(hidden, axis=1, kind="stable")
    split = Split(order[:, :5], order[:, 5:])
    predicted, _ = jax.jit(lambda params: one.predicted(params, {"video": video}, split))(m.params)
    logits = m(pixel_values=golden["input/pixel_values"], bool_masked_pos=hidden > 0)["logits"]
    np.testing.assert_allclose(predicted, logits, rtol=2e-5, atol=2e-5)
    wanted = np.take_along_axis(one.wanted.of({}, video, one.model.patch), split.hidden[..., None], axis=1)
    assert float(one.wanted.measured(predicted, wanted)["loss"].mean()) == pytest.approx(LOSS, rel=1e-5)
    drawn = one.split(video, jax.random.key(0))
    assert drawn.hidden.shape == (2, 6)  # three of a frame's six patches, of two frames of tubelets


def test_what_is_hidden(golden, tmp_path):
    m = checkpoint(golden, str(golden["config"]), tmp_path)
    videos, hidden = golden["input/pixel_values"], golden["input/bool_masked_pos"]
    assert m(pixel_values=videos)["last_hidden_state"].shape == (2, 12, 24)
    for wrong in (hidden[:, :9], np.zeros_like(hidden), np.eye(2, 12, dtype=int) + np.eye(1, 12, 4, dtype=int)):
        with pytest.raises(XfmError, match="must hide equally many of the 12 tubelets of each, some and not all"):
            m(pixel_values=videos, bool_masked_pos=wrong * [[1], [0]] if wrong.sum() == 4 else wrong)
    with pytest.raises(XfmError, match="bool_masked_pos are float32"):
        m(pixel_values=videos, bool_masked_pos=hidden.astype(np.float32))
    with pytest.raises(XfmError, match="has no preprocessor_config.json, so it does not say how images are"):
        m.processor  # noqa: B018
    config = json.loads(str(golden["config"]))
    with pytest.raises(XfmError, match="VideoMAE is pre-trained with square patches"):
        checkpoint(golden, json.dumps(config | {"patch_size": [4, 2]}), tmp_path)
