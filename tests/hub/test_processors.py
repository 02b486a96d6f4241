"""The image processors of checkpoints: equal to transformers', and errors. Takes five seconds."""

import json
from pathlib import Path

import numpy as np
import pytest

import xfm
from tests.hub import small
from tests.hub.processors import CASES, pictures
from xfm.errors import XfmError
from xfm.images.settings import processor_of

image = pytest.importorskip("PIL.Image")
GOLDENS = Path(__file__).parents[1] / "goldens" / "processors.npz"
LEVEL = 1.001  # grey levels
ODD = ("clip_small",)  # pictures smaller than the crop: Pillow's class puts the odd pixel of black elsewhere


@pytest.fixture(scope="module")
def goldens():
    with np.load(GOLDENS) as file:
        return dict(file)


def processor(path="file", **values):
    return processor_of({"image_processor_type": "ViTImageProcessor", **values}, path, {"model_type": "vit"})


@pytest.mark.parametrize("name", CASES)
def test_equals_transformers(name, goldens):
    """Bit for bit what its slow class returns, and within one grey level of its fast one."""
    made = processor_of(json.loads(str(goldens[f"config/{name}"])), "file", {})
    images = made(pictures())
    assert images.dtype == np.float32
    for i, own in enumerate(images):
        fast, slow = goldens[f"fast/{name}/{i}"], goldens.get(f"pil/{name}/{i}")
        level = (made.scale or 1) / np.array(made.std or (1, 1, 1))
        most = LEVEL if slow is not None else 0.01  # DINOv3 scales floats, which are not rounded
        assert (
            own.shape == fast.shape and (np.abs(own - fast) <= most * level + (2e-3 if slow is not None else 0)).all()
        )
        if slow is not None and name not in ODD:
            np.testing.assert_array_equal(own, slow)


def test_kinds_of_pictures(tmp_path):
    """Files, Pillow images and arrays of the same picture give the same image; grey and transparent ones RGB."""
    p = processor(size=6)
    rgb = pictures()[0]
    whole = p(rgb)
    image.fromarray(rgb).save(tmp_path / "a.png")
    image.fromarray(rgb).save(tmp_path / "b.jpg", exif=_turned(6), quality=100, subsampling=0)
    opaque = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], -1)
    for same in (str(tmp_path / "a.png"), tmp_path / "a.png", image.fromarray(rgb), [rgb], rgb[None], opaque):
        np.testing.assert_array_equal(p(same), whole)
    turned = p(tmp_path / "b.jpg")  # orientation 6: the file's rows run downwards on the right
    np.testing.assert_allclose(turned, p(np.rot90(rgb, -1)), atol=0.1)
    grey = rgb[..., 0]
    for same in (grey[..., None], np.stack([grey, np.full_like(grey, 255)], -1), grey.astype(np.uint16) * 256 + 255,
                 image.fromarray(grey).convert("P")):  # fmt: skip
        np.testing.assert_array_equal(p(same), p(grey))
    np.testing.assert_array_equal(p(grey)[..., 0], p(grey)[..., 2])
    np.testing.assert_array_equal(p(np.concatenate([rgb, np.zeros_like(rgb[..., :1])], -1)), np.ones((1, 6, 6, 3)))
    np.testing.assert_array_equal(
        p(image.fromarray(grey).convert("CMYK")), p(image.fromarray(grey).convert("CMYK").convert("RGB"))
    )
    assert processor_of({}, "file", {"model_type": "vit", "num_channels": 1}).channels == 1


def _turned(orientation):
    exif = image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    "given,said",
    [
        (np.zeros((5, 5, 3)), r"picture 0 is float64 \(5, 5, 3\), where an image of 8 or 16 bits .* give it as uint8"),
        (
            [np.zeros((5, 5), np.uint8), np.zeros((3, 5, 5), np.uint8)],
            r"picture 1 is uint8 \(3, 5, 5\), where .*channels",
        ),
        (np.zeros((5, 0), np.uint8), "has no pixel; leave it out"),
        ([], "no picture in the list"),
        ("nowhere.png", "nowhere.png cannot be read as an image: .*No such file"),
        (3, r"picture 0 is int64 \(\), where an image"),
        (np.zeros((4, 5), bool), "picture 0 is bool"),
    ],
)
def test_refused_pictures(given, said):
    with pytest.raises(XfmError, match=said):
        processor(size=4)(given)


def test_damaged_narrow_and_uneven_pictures(tmp_path):
    path = tmp_path / "cut.jpg"
    image.fromarray(pictures()[0]).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(XfmError, match="cut.jpg cannot be read as an image: .*truncated"):
        processor(size=4)(path)
    with pytest.raises(XfmError, match="picture 0 cannot be read: .*truncated"):
        processor(size=4)(image.open(path))
    with pytest.raises(XfmError, match="1 x 60000 pixels and would be scaled to 224 x 13440000; cut a part out"):
        processor(size=dict(shortest_edge=224))(np.zeros((1, 60000), np.uint8))
    with pytest.raises(XfmError, match="different sizes, 9 x 13 and 25 x 60 pixels"):
        processor(do_resize=False)(pictures()[1:])
    assert processor(do_resize=False)(pictures()[1]).shape == (1, 9, 13, 3)
    with pytest.raises(XfmError, match="picture 1 becomes 9 x 13 pixels, more than 9 x 9"):
        processor(do_resize=False, do_pad=True, pad_size=9)([np.zeros((8, 8), np.uint8), pictures()[1]])
    with pytest.raises(XfmError, match="32 bits.* have no known range"):
        processor()(image.fromarray(np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize(
    "values,said",
    [
        (dict(image_processor_type="DPTImageProcessor"), "image_processor_type 'DPTImageProcessor'; xfm has ViTImageP"),
        (
            dict(image_processor_type="ConvNetFeatureExtractor"),
            "'ConvNetFeatureExtractor', did you mean 'ConvNext'|ConvN",
        ),
        (dict(size=dict(longest_edge=9)), "sets size to .*; it must have height and width, or shortest_edge"),
        (dict(size="large"), "its height must be a number of pixels"),
        (dict(resample=9), "sets resample to 9; it must be a number of Pillow's filters, 0 to 5"),
        (dict(image_mean=[0.5]), "sets image_mean to .0.5.; it must be a number for each of 3 channels"),
        (dict(image_std=[0, 1, 1]), "sets image_std to .* a number above 0 for each"),
        (dict(do_resize=1), "sets do_resize to 1; it must be true or false"),
        (dict(rescale_factor=-1), "sets rescale_factor to -1; it must be a number above 0"),
    ],
)
def test_refused_files(values, said):
    with pytest.raises(XfmError, match=said):
        processor("file", **values)


def test_of_a_checkpoint(tmp_path):
    """It is read from either file, is saved beside the model, and its images fit the model."""
    folder = small.folder(tmp_path / "in", name="vit_label")
    with pytest.raises(XfmError, match="has no preprocessor_config.json, so it does not say how images are prepared"):
        _ = xfm.load(folder).processor
    values = dict(feature_extractor_type="ViTFeatureExtractor", size=dict(height=12, width=20))
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    m = xfm.load(folder)
    assert m(images=m.processor(pictures()))["logits"].shape == (3, 5)
    again = xfm.load(m.save(tmp_path / "out"))
    assert again.processor == m.processor
    nested = {"image_processor": {**values, "image_processor_type": "SiglipImageProcessorFast"}}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert xfm.load(folder).processor.resample == 3
    with pytest.raises(XfmError, match="bert reads text, so it has no image processor; use its tokenizer"):
        _ = xfm.load(small.folder(tmp_path / "bert")).processor
