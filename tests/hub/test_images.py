"""Checkpoints that read images: how they are called, saved and refused. Takes ten seconds."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.hub import small
from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.hub.matching import match
from xfm.structures import build


@pytest.fixture(scope="module")
def m(tmp_path_factory):
    """A ViT of 3 x 5 patches of 4 x 4 pixels in three colours."""
    return xfm.load(small.folder(tmp_path_factory.mktemp("vit") / "in", name="vit_label"))


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_channels_first_and_last_are_the_same(m):
    x = images(2, 12, 20, 3)
    for given in (x.transpose(0, 3, 1, 2), jnp.asarray(x.transpose(0, 3, 1, 2))):
        np.testing.assert_array_equal(m(pixel_values=given)["logits"], m(images=x)["logits"])


def test_other_sizes_and_no_gradient_is_lost(m):
    """The positions are resized, and learn from every size."""
    x = images(1, 16, 8, 3)
    out = jax.jit(lambda params: m.replace(params=params)(images=x)["logits"])
    gradient = jax.grad(lambda params: out(params)[0, 0])(m.params)["embed"]["position"]["table"]
    assert out(m.params).shape == (1, 5) and (np.abs(gradient).max(axis=1) > 0).all()


@pytest.mark.parametrize(
    "given,said",
    [
        (dict(), "give either images .batch, height, width, channels. or pixel_values"),
        (dict(images=images(1, 12, 20, 3), pixel_values=images(1, 3, 12, 20)), "give either images"),
        (dict(input_ids=np.ones((1, 4), int)), "vit reads images and has no input 'input_ids'; give images or"),
        (dict(pixels=images(1, 12, 20, 3)), "has no input 'pixels'"),
        (dict(images=images(12, 20, 3)), r"images have the shape \(12, 20, 3\); it must be \[batch, height, width"),
        (dict(pixel_values=images(3, 12, 20)), r"pixel_values have the shape .* \[batch, channels"),
        (dict(images=images(0, 12, 20, 3)), r"the shape \(0, 12, 20, 3\)"),
        (dict(images=np.zeros((1, 12, 20, 3), np.uint8)), "images are uint8; they must be floats, scaled and normal"),
        (dict(images=np.where(np.arange(2)[:, None, None, None], np.nan, images(2, 12, 20, 3))), "NaN in image 1"),
        (dict(images=images(1, 12, 20, 1)), "the images have 1 channels, the network reads 3"),
        (dict(images=images(1, 12, 20, 4)), "the images have 4 channels, the network reads 3"),
        (dict(images=images(1, 13, 20, 3)), "an image of 13 x 20 does not divide into patches of 4 x 4"),
        (dict(images=images(1, 3, 3, 3)), "an image of 3 x 3 does not divide into patches of 4 x 4"),
    ],
)
def test_refused(m, given, said):
    with pytest.raises(XfmError, match=said):
        m(**given)


@pytest.mark.parametrize(
    "hidden,said",
    [
        (np.ones((1, 15), int), r"the shape \(1, 15\); it must be \[batch, patches\], for 2 images"),
        (np.ones((2, 14), int), r"hidden has the shape \(2, 14\); it must be \(2, 15\), a number for each patch"),
        (np.ones((2, 15)), "bool_masked_pos are float64; they must be 1 or True where a patch is hidden"),
        (np.ones((2, 15), bool), "the network has no token for them; set mask in the embedding"),
    ],
)
def test_hidden_patches_are_refused(m, hidden, said, tmp_path):
    """By a model without a token for them, and where they do not fit the images."""
    with pytest.raises(XfmError, match=said):
        embed = m.spec["embed"] | dict(mask="token" if hidden.shape[1] == 14 else None)
        other = build(m.spec | dict(embed=embed))
        other.init_with_output(jax.random.key(0), m.family.calling.inputs(None, images(2, 12, 20, 3), hidden))


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(image_size=[12, 20, 3]), "sets image_size to .12, 20, 3.; it must be a size in pixels, or its rows and"),
        (dict(patch_size=0), "sets patch_size to 0; it must be a size"),
        (dict(image_size=3), r"image_size of \(3, 3\), which is smaller than its patch_size of \(4, 4\)"),
        (dict(image_size=20), "position_embeddings has the shape .1, 16, 24. in the file, but .1, 26, 24. by config"),
        (dict(qkv_bias=False), "the file has .*attention.key.bias.* which vit with these heads does not use"),
        (dict(qkv_bias=0.5), "sets qkv_bias to 0.5; xfm knows True, False"),
        (
            dict(num_channels=1),
            "projection.weight has the shape .24, 3, 4, 4. in the file, but .24, 1, 4, 4. by config",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_refused(changes, said, tmp_path):
    with pytest.raises(XfmError, match=said):
        xfm.load(small.folder(tmp_path / "in", name="vit_label", **changes))


def test_a_run_is_written_as_vit():
    """Where its spec says the number of channels, which `tiny` takes from the data."""
    tiny = vit.get_config("tiny").model.to_dict()
    with pytest.raises(XfmError, match="embed.channels is None and would be 3"):
        match(tiny)
    grey = tiny | {"embed": tiny["embed"] | {"channels": 1}}
    for spec, size, channels in ((grey, 8, 1), (vit.get_config("B/16").model.to_dict(), 224, 3)):
        found = match(spec)
        content = found.settings.content
        assert content["architectures"] == ["ViTForImageClassification"] and not found.near
        assert (content["image_size"], content["num_channels"]) == (size, channels)


def test_a_network_with_fewer_biases_is_written():
    """With zeros, where the family does not say which projections have one."""
    spec = vit.get_config("Ti/16").model.to_dict()
    for biases, said in ((("q", "v", "o"), None), (("o",), False), (False, None), (True, None)):
        attention, mlp = spec["pattern"]
        content = match(spec | {"pattern": [attention | {"bias": biases}, mlp]}).settings.content
        assert content.get("qkv_bias") is said


def test_what_is_saved_has_the_shapes_of_the_files(m, tmp_path):
    m.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "vit"
    again = xfm.load(tmp_path / "out")
    x = images(1, 12, 20, 3)
    np.testing.assert_array_equal(again(images=x)["logits"], m(images=x)["logits"])
