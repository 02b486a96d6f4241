"""ViT-MAE's files: three spellings, what noise does, and the way back. Takes four seconds."""

import json
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.hub.test_parity import GOLDENS, checkpoint, of
from xfm.errors import XfmError
from xfm.hub.checkpoint import load
from xfm.initial import initial_shapes
from xfm.objectives import build_objective
from xfm.paths import flatten


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS / "vit_mae_pretraining.npz") as file:
        return {key: file[key] for key in file.files}


def in_memory(name):
    """A name of the file as the modules of transformers 5 have it in memory."""
    for old, new in (
        (r"encoder\.layer\.", "layers."),
        (r"attention\.attention\.(.)\w*\.", r"attention.\1_proj."),
        (r"attention\.output\.dense", "attention.o_proj"),
        (r"intermediate\.dense", "mlp.fc1"),
        (r"output\.dense", "mlp.fc2"),
    ):
        name = re.sub(old, new, name)
    return name


SPELLINGS = {
    "of transformers 5": lambda name: name.replace("decoder_layers.", "decoder_encoder.layer."),
    "in memory": in_memory,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_read_and_the_hubs_is_written(golden, spelling, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = checkpoint(golden, str(golden["config"]), tmp_path / "a")
    spelled = {SPELLINGS[spelling](name): value for name, value in of(golden, "weight/").items()}
    assert len(spelled.keys() - of(golden, "weight/").keys()) >= 32
    (tmp_path / "b" / "config.json").write_text(str(golden["config"]))
    save_file({k: np.ascontiguousarray(v) for k, v in spelled.items()}, tmp_path / "b" / "model.safetensors")
    other = load(tmp_path / "b")
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    other.save(tmp_path / "c")
    written = load_file(tmp_path / "c" / "model.safetensors")
    assert written.keys() == of(golden, "weight/").keys()
    for name, value in of(golden, "weight/").items():
        np.testing.assert_array_equal(written[name], value, err_msg=name)


def test_noise_hides_patches_and_without_it_nothing_is_hidden(golden, tmp_path):
    m = checkpoint(golden, str(golden["config"]), tmp_path)
    images, noise = golden["input/pixel_values"], golden["input/noise"]
    whole = m(pixel_values=images)
    assert whole["last_hidden_state"].shape == (3, 10, 24) and "logits" not in whole
    out = m(pixel_values=images, noise=noise)
    assert out["last_hidden_state"].shape == (3, 3, 24) and out["logits"].shape == (3, 9, 48)
    assert (out["mask"].sum(1) == 7).all() and (out["mask"] == (noise.argsort(1).argsort(1) >= 2)).all()
    again = m(pixel_values=images, noise=noise / 101.0)
    np.testing.assert_array_equal(again["logits"], out["logits"])
    with pytest.raises(XfmError, match=r"noise has the shape \(3, 8\) and is int32; it must be \(3, 9\)"):
        m(pixel_values=images, noise=noise[:, :8])
    config = json.loads(str(golden["config"]))
    with pytest.raises(XfmError, match="square images and patches"):
        checkpoint(golden, json.dumps(config | {"image_size": [12, 16]}), tmp_path)


def test_pre_training_continues_with_the_checkpoints_network(golden, tmp_path):
    """The network that a checkpoint holds is the one that the objective trains."""
    m = checkpoint(golden, str(golden["config"]), tmp_path)
    one = build_objective(dict(model=m.spec, objective=dict(kind="masked_images")), None)
    images = golden["input/pixel_values"].transpose(0, 2, 3, 1)
    shapes = flatten(initial_shapes(one.model, {"images": images})["params"])
    assert {path: x.shape for path, x in shapes.items()} == {path: x.shape for path, x in flatten(m.params).items()}
    split = one.split(images, jax.random.key(0))
    predicted, _ = jax.jit(lambda p: one.predicted(p, {"images": images}, split))(m.params)
    noise = np.zeros((3, 9))
    noise[np.arange(3)[:, None], np.concatenate([split.visible, split.hidden], 1)] = np.arange(9)
    logits = np.asarray(m(pixel_values=golden["input/pixel_values"], noise=noise)["logits"])
    np.testing.assert_allclose(predicted, logits[np.arange(3)[:, None], split.hidden], rtol=2e-5, atol=2e-5)
