"""Whole CLIP and SigLIP checkpoints: how both towers are called, loaded alone, saved and refused. Takes six seconds."""

import json

import numpy as np
import pytest

import xfm
from tests.drawn import drawn, run
from tests.hub import small
from xfm.configs.vision import clip, siglip
from xfm.convert.export import checkpoint_of
from xfm.errors import XfmError
from xfm.hub.checkpoint import head_of_texts
from xfm.hub.matching import match
from xfm.spec import plain
from xfm.structures import build
from xfm.train.found import of_hub


@pytest.fixture(scope="module")
def m(tmp_path_factory):
    return xfm.load(small.folder(tmp_path_factory.mktemp("clip") / "in", name="clip_whole"))


IDS = np.array([[3, 9, 50, 0], [4, 5, 6, 50]])
IMAGES = np.random.default_rng(0).standard_normal((3, 6, 6, 3), np.float32)


def test_texts_images_or_both(m):
    both, texts, images = m(input_ids=IDS, images=IMAGES), m(IDS), m(pixel_values=IMAGES.transpose(0, 3, 1, 2))
    assert both["logits_per_image"].shape == (3, 2) and both["logits_per_text"].shape == (2, 3)
    np.testing.assert_array_equal(both["text_embeds"], texts["text_embeds"])
    np.testing.assert_array_equal(both["image_embeds"], images["image_embeds"])
    assert texts.keys() == {"text_embeds", "text_model_output"} and "logits_per_image" not in images
    np.testing.assert_allclose(np.linalg.norm(both["image_embeds"], axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("name,width", [("clip_whole", 6), pytest.param("siglip_whole", 20, marks=pytest.mark.slow)])
def test_either_tower_alone_is_the_same_but_for_its_length(name, width, tmp_path):
    folder = small.folder(tmp_path / "in", name=name)
    whole = xfm.load(folder)(input_ids=IDS, images=IMAGES)
    for head, given in (("text_embeds", dict(input_ids=IDS)), ("image_embeds", dict(images=IMAGES))):
        m = xfm.load(folder, head=head)
        found = np.asarray(m(**given)[head])
        assert found.shape[1] == width
        np.testing.assert_allclose(found / np.linalg.norm(found, axis=1)[:, None], whole[head], atol=1e-6)
        m.save(tmp_path / head)
        again = xfm.load(tmp_path / head)
        np.testing.assert_array_equal(again(**given)["last_hidden_state"], m(**given)["last_hidden_state"])
    said = json.loads((tmp_path / "image_embeds" / "config.json").read_text())
    assert said["model_type"] == name.replace("_whole", "_vision_model")


@pytest.mark.parametrize(
    "given,said",
    [
        (dict(), "input_ids are None"),
        (
            dict(input_ids=IDS, pixels=IMAGES),
            "clip reads text and images and has no input 'pixels'; give input_ids or im",
        ),
        (dict(input_ids=np.array([[77]])), "input_ids contain 77; this checkpoint has 0 to 58"),
        (dict(input_ids=IDS, images=IMAGES[0]), r"images have the shape \(6, 6, 3\)"),
    ],
)
def test_refused(m, given, said):
    with pytest.raises(XfmError, match=said):
        m(**given)


def test_patches_of_images_of_any_shape(tmp_path):
    """What padding holds reaches nothing, the mask follows from the shapes, and shapes that do not fit are refused."""
    m = xfm.load(small.folder(tmp_path / "in", name="siglip2_vision"))
    patches, shapes = np.random.default_rng(0).standard_normal((2, 7, 12), np.float32), np.array([[2, 3], [1, 4]])
    mask = np.arange(7) < shapes.prod(1)[:, None]
    padded = np.where(mask[..., None], patches, 1e9).astype(np.float32)
    first = m(pixel_values=padded, pixel_attention_mask=mask, spatial_shapes=shapes)["pooled"]
    np.testing.assert_array_equal(m(patches=patches, spatial_shapes=shapes)["pooled"], first)
    alone = m(patches=patches[1:, :4], spatial_shapes=shapes[1:])["pooled"]
    np.testing.assert_allclose(alone[0], first[1], rtol=1e-5, atol=1e-5)
    for given, said in (
        (dict(), "siglip2 needs spatial_shapes .batch, 2., the rows and columns"),
        (dict(spatial_shapes=np.array([[2, 4], [1, 4]])), "with at most 7 patches, as many as pixel_values have"),
        (dict(spatial_shapes=shapes[:1]), r"spatial_shapes are int64 \(1, 2\); they must be whole numbers \(2, 2\)"),
    ):
        with pytest.raises(XfmError, match=said):
            m(patches=patches, **given)


def test_where_one_tower_is_needed_it_is_chosen_or_asked_for(m):
    """A sentence encoder loads that of texts; a run, and an encoder of a loaded model, are told how to choose."""
    assert head_of_texts(m.folder) == "text_embeds"
    with pytest.raises(
        XfmError, match="has the towers text, vision, and a sentence encoder is one tower; load it with"
    ):
        xfm.sentence_encoder(m)
    with pytest.raises(XfmError, match="set config.start.head, one of text_embeds, image_embeds"):
        of_hub(str(m.folder), None, None)
    assert of_hub(str(m.folder), "text_embeds", None).family == "clip_text_model"


def test_a_head_that_neither_tower_has_is_refused_with_all_that_there_are(tmp_path):
    with pytest.raises(
        XfmError, match="clip has no head 'masked_lm'; it has pooled, text_embeds, pooled, image_embeds"
    ):
        xfm.load(small.folder(tmp_path / "in", name="clip_whole"), head="masked_lm")
    with pytest.raises(XfmError, match="sets vision_use_head to false; without that head images have no vector"):
        vision = small.config("siglip_whole")["vision_config"] | dict(vision_use_head=False)
        xfm.load(small.folder(tmp_path / "in", name="siglip_whole", vision_config=vision))


@pytest.mark.parametrize("config,kind", [(clip, "CLIPModel"), (siglip, "SiglipModel")])
def test_a_network_of_ours_is_written_whole(config, kind, tmp_path):
    """Both towers and how they are compared; read again, they find the same similarities."""
    spec = plain(config.get_config("tiny").model)
    if config is clip:
        spec["towers"]["text"]["heads"]["pooled"]["pool"] = dict(kind="at_token", token=3)
    model, rng = build(spec), np.random.default_rng(0)
    tokens = np.array([[2, 40, 50, 3, 0, 0], [2, 30, 3, 0, 0, 0], [2, 9, 10, 11, 12, 3]], np.int32)
    tokens = np.pad(tokens, ((0, 0), (0, 6)))
    images = rng.standard_normal((3, 8, 8, 1), np.float32)
    batch = {"text/tokens": tokens, "vision/images": images}
    params = drawn(model, batch)["params"]
    found = match(spec)
    (tmp_path / "draft").mkdir()
    checkpoint_of(found, params, tmp_path / "draft").save(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["architectures"] == [kind] and said["text_config"]["model_type"].endswith("_text_model")
    expected = run(model, {"params": params}, batch)["vision/similarity"]
    again = xfm.load(tmp_path / "out")(input_ids=tokens, images=images)["logits_per_text"]
    np.testing.assert_allclose(again, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config,variant", [(clip, "L/14@336"), (siglip, "So400m/14@384")])
def test_published_sizes_are_written(config, variant):
    content = match(plain(config.get_config(variant).model)).settings.content
    width, heads, side = config.SIZES[variant][1], config.SIZES[variant][2], int(variant.partition("@")[2]) // 14 * 14
    seen = content["vision_config"]
    assert (seen["hidden_size"], seen["num_attention_heads"], seen["image_size"]) == (width, heads, side)
