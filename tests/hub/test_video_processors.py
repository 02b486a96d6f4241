"""The video processors of checkpoints: equal to transformers', and errors. Takes two seconds."""

import json
from pathlib import Path

import numpy as np
import pytest

import xfm
from tests.hub import small
from tests.hub.processors import VIDEOS, videos
from xfm.errors import XfmError
from xfm.images.settings import video_processor_of

pytest.importorskip("PIL.Image")
GOLDENS = Path(__file__).parents[1] / "goldens" / "video_processors.npz"
LEVEL = 1.001  # grey levels, between Pillow's scaling and torchvision's
VIVIT = dict(image_processor_type="VivitImageProcessor", size=dict(shortest_edge=9), crop_size=8)


def processor(**values):
    return video_processor_of({**VIVIT, **values}, "file", {"model_type": "vivit"})


@pytest.mark.parametrize("name", VIDEOS)
def test_equals_transformers(name):
    """Bit for bit what its classes of image processors return, and within one grey level of those of videos."""
    with np.load(GOLDENS) as file:
        golden = {key: file[key] for key in file.files if key.endswith(f"/{name}")}
    made = video_processor_of(json.loads(str(golden[f"config/{name}"])), "file", {})
    own = made(videos())
    assert own.dtype == np.float32
    if f"image/{name}" in golden:
        np.testing.assert_array_equal(own, golden[f"image/{name}"])
    if f"video/{name}" in golden:
        level = made.frames.scale / np.array(made.frames.std)
        theirs = golden[f"video/{name}"]
        assert own.shape == theirs.shape and (np.abs(own - theirs) <= LEVEL * level + 2e-3).all()


def test_videos_in_each_form_are_the_same():
    p, (one, other) = processor(), (video[:3, :24, :28] for video in videos())
    whole = p([one, other])
    assert whole.shape == (2, 3, 8, 8, 3)
    for same in (np.stack([one, other]), [list(one), list(other)], (one, list(other))):
        np.testing.assert_array_equal(p(same), whole)
    for same in (one, list(one), one[None]):
        np.testing.assert_array_equal(p(same), whole[:1])


@pytest.mark.parametrize(
    "given,said",
    [
        ([], "a video is an array of frames .time, height, width, channels., or a list of frames; give one"),
        ("film.mp4", "a video is an array of frames"),
        ([[]], "video 0 has 0 frames; give at least 1"),
        ([[np.zeros((9, 9), np.uint8)]] * 2 + [[np.zeros((9, 9), np.uint8)] * 3], "videos of 1 and 3 frames"),
        (np.zeros((3, 9, 9, 3)), "picture 0 is float64"),
    ],
)
def test_refused_videos(given, said):
    with pytest.raises(XfmError, match=said):
        processor()(given)


def test_refused_files():
    with pytest.raises(XfmError, match="sets do_sample_frames and num_frames to None; it must be a number of frames"):
        processor(do_sample_frames=True, fps=4)
    with pytest.raises(XfmError, match="'ViTImageProcessor'.*xfm has VideoMAEImageProcessor, Vivit"):
        processor(image_processor_type="ViTImageProcessor")
    with pytest.raises(XfmError, match="video 1 has 2 frames; give at least 4"):
        p = processor(do_sample_frames=True, num_frames=4)
        p([np.zeros((5, 9, 9, 3), np.uint8), np.zeros((2, 9, 9, 3), np.uint8)])


def test_of_a_checkpoint(tmp_path):
    """It is read from each of the files that may have it, is saved beside the model, and its videos fit the model."""
    folder = small.folder(tmp_path / "in", name="vivit_label")
    with pytest.raises(XfmError, match="has no preprocessor_config.json"):
        _ = xfm.load(folder).processor
    (folder / "preprocessor_config.json").write_text(json.dumps(VIVIT))
    m = xfm.load(folder)
    assert m(video=m.processor([video[:4] for video in videos()]))["logits"].shape == (2, 5)
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"video_processor_type": "VivitVideoProcessor"}))
    m = xfm.load(folder)
    assert m.processor.frames.crop == (224, 224)
    assert xfm.load(m.save(tmp_path / "out")).processor == m.processor
    nested = {"video_processor": {**VIVIT, "video_processor_type": "VideoMAEVideoProcessor"}}
    (folder / "processor_config.json").write_text(json.dumps(nested))
    assert xfm.load(folder).processor.frames.shift == 0
