"""Visual tokens: DALL-E's encoder against transformers', its file, and a run whose targets it makes."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.close import assert_close
from xfm.errors import XfmError
from xfm.hub.image_tokens import path_of, weights
from xfm.objectives import image_tokens
from xfm.objectives.targets import ImageTokens
from xfm.parts.resize import resize_grid
from xfm.train.state import State
from xfm.train.teacher import resolved, taught

GOLDEN = Path(__file__).parent.parent / "goldens" / "image_tokens.npz"
SMALL = dict(width=8, blocks=2, codes=11)


@functools.cache
def golden():
    with np.load(GOLDEN) as found:
        return dict(found)


def tensors():
    return {name.removeprefix("tensor/"): x for name, x in golden().items() if name.startswith("tensor/")}


def tree_of(flat):
    """Path of a parameter -> array, as a tree with the paths of convolutions."""
    paths = {path.rpartition("/")[0] for path in flat}
    return {path: {leaf: flat[f"{path}/{leaf}"] for leaf in ("kernel", "bias")} for path in paths}


@pytest.fixture
def folder(tmp_path):
    save_file(tensors(), tmp_path / "model.safetensors")
    return tmp_path


def test_the_encoder_equals_that_of_transformers(folder):
    params = tree_of(weights(str(folder)))
    found = jax.jit(image_tokens.scores)(params, golden()["images"])
    assert found.shape == (2, 3, 5, 11)
    assert_close(found, golden()["scores"])
    assert len(np.unique(golden()["scores"].argmax(-1))) > 2


def test_its_size_is_that_of_the_published_encoder():
    """53,786,240, as transformers counts FlavaImageCodebook's parameters."""
    shapes = jax.eval_shape(lambda: image_tokens.initial(jax.random.key(0), 256, 2, 3, 8192))
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == 53_786_240
    assert image_tokens.widths(256, 2, 3, 8192)["output"] == (1, 1, 2048, 8192)


def test_random_weights_keep_the_scale_of_what_they_read():
    params = jax.jit(lambda key: image_tokens.initial(key, 8, 1, 3, 11))(jax.random.key(0))
    assert {path: x["kernel"].shape for path, x in params.items()} == image_tokens.widths(8, 1, 3, 11)
    assert params["input"]["kernel"].std() == pytest.approx(1 / math.sqrt(7 * 7 * 3), rel=0.1)  # of 1,176 numbers
    assert params["group_4/block_1/conv_2"]["kernel"].std() == pytest.approx(1 / math.sqrt(9 * 16), rel=0.1)
    assert not any(np.any(x["bias"]) for x in params.values())


def test_the_names_of_the_authors_program_are_read_too():
    assert path_of("blocks.group_2.block_1.id_path.w") == "group_2/block_1/identity/kernel"
    assert path_of("blocks.group_1.group.block_2.res_path.path.conv_3.bias") == "group_1/block_2/conv_3/bias"
    assert path_of("image_codebook.blocks.output.conv.weight") == path_of("blocks.output.conv.w") == "output/kernel"
    assert path_of("blocks.input.b") == "input/bias"


def test_the_encoder_is_found_in_a_file_of_the_whole_model(folder):
    alone = weights(str(folder))
    whole = {f"image_codebook.{name}": x for name, x in tensors().items()}
    save_file({**whole, "blocks.of.another.weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    again = weights(str(folder))
    assert alone.keys() == again.keys() and all(np.array_equal(alone[path], again[path]) for path in alone)
    save_file({"encoder.weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    with pytest.raises(XfmError, match="has no tensor blocks.…, so that it is no encoder of visual tokens"):
        weights(str(folder))


def test_targets_are_the_codes_of_the_image_in_eight_pixels_for_each_patch(folder):
    """Images are normalised by mean and std, and what the encoder reads goes from 0.1 to 0.9."""
    params = tree_of(weights(str(folder)))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    plain = np.random.default_rng(0).uniform(size=(2, 24, 40, 3)).astype(np.float32)
    plain[0, :8, :8], plain[1, 16:, 32:] = 1.0, 0.0
    images, target = (
        (plain - np.array(mean, np.float32)) / np.array(std, np.float32),
        ImageTokens(**SMALL, mean=mean, std=std),
    )
    wanted = np.asarray(image_tokens.scores(params, 0.8 * plain + 0.1)).argmax(-1)
    found = target.of({"tokeniser": params}, images, (8, 8))
    assert found.shape == (2, 15) and (np.asarray(found).reshape(2, 3, 5) == wanted).mean() > 0.9  # rounding moves few
    twice = np.repeat(np.repeat(images, 2, 1), 2, 2)  # of patches of 16 pixels
    assert target.of({"tokeniser": params}, twice, (16, 16)).shape == (2, 15)
    x = np.asarray(image_tokens.scaled(jnp.asarray(twice), (24, 40)))
    assert_close(x[1], np.asarray(resize_grid(jnp.asarray(twice[1]), (24, 40), "bicubic_antialiased")))


def test_the_state_of_a_run_has_the_weights_of_the_file(folder):
    """And whatever else it has, as it was; a file of another size is refused."""
    known = tree_of(weights(str(folder)))
    begun = dict(tokeniser=jax.tree.map(jnp.zeros_like, known), beside=jnp.ones(2))
    state = State(jnp.int32(0), {}, (), {"target": begun, "teacher": {}}, None, jax.random.key(0))
    config = dict(objective=dict(target=dict(kind="image_tokens", source=str(folder))))
    extra = taught(state, config).extra
    jax.tree.map(np.testing.assert_array_equal, extra["target"]["tokeniser"], known)
    assert extra["teacher"] == {} and np.all(extra["target"]["beside"] == 1)
    assert taught(state, dict(objective=dict(target=dict(kind="image_tokens")))).extra is state.extra
    begun["tokeniser"]["entry"] = dict(kernel=jnp.zeros((7, 7, 3, 8)))
    with pytest.raises(XfmError, match=r"the tokeniser .* has no parameter entry/kernel of the shape \(7, 7, 3, 8\)"):
        taught(state, config)


def test_a_relative_folder_is_found_when_the_run_goes_on_from_elsewhere(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    config = dict(objective=dict(kind="masked_images", target=dict(kind="image_tokens", source=folder.name)))
    assert resolved(config)["objective"]["target"]["source"] == str(folder)
    config["objective"]["target"]["source"] = "facebook/flava-image-codebook"
    assert resolved(config)["objective"]["target"]["source"] == "facebook/flava-image-codebook"


@pytest.mark.slow
def test_a_run_has_the_weights_of_the_file_and_does_not_train_them(folder, tmp_path):
    """Takes ten seconds of a core."""
    pytest.importorskip("sklearn.datasets")
    from xfm.configs.vision import beit_pretraining
    from xfm.train import train

    c = beit_pretraining.get_config("tiny")
    c.model = beit_pretraining.network(1, 16, 2, patch=2, size=8, gate=0.1, codes=11)
    c.objective["target"] = dict(kind="image_tokens", source=str(folder), **SMALL)
    c.data = dict(kind="images", size=8, channels=3, validation=0.02)
    c.batch, c.steps, c.log_every, c.eval_every, c.save_every, c.evals = 8, 2, 1, 2, 2, []
    c.schedule = dict(kind="constant", peak=1e-3)
    done = train(c, tmp_path / "run")
    kept, known = done.state.extra["target"]["tokeniser"], tree_of(weights(str(folder)))
    jax.tree.map(np.testing.assert_array_equal, dict(kept), known)
    assert done.baseline == {"chance": pytest.approx(math.log(11))} and math.isfinite(done.valid["loss"])
