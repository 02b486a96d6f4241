"""The image source, its augmentation, and what is said of bad images."""

import numpy as np
import pytest

from xfm.data import Batches, open_data
from xfm.data.pixels import Crop, Flip
from xfm.errors import XfmError

pytest.importorskip("PIL")


def images(path, **fields):
    return open_data({"kind": "images", "path": str(path), "size": 8, **fields}, "unused")


def test_digits():
    sklearn = pytest.importorskip("sklearn.datasets")
    data = open_data({"kind": "images", "mean": 0.5, "std": 0.25}, "unused")
    assert data.classes == tuple("0123456789") and len(data.train) + len(data.valid) == 1797
    assert 100 < len(data.valid) < 260
    row = data.train[7]
    assert row["images"].shape == (8, 8, 1) and row["images"].dtype == np.float32
    assert row["labels"].dtype == np.int32 and row["labels"].shape == ()
    digits = sklearn.load_digits()
    want = (digits.images[data.train.keep[7]] / 16 - 0.5) / 0.25
    np.testing.assert_allclose(row["images"][..., 0], want, rtol=0, atol=1e-6)
    assert row["labels"] == digits.target[data.train.keep[7]]
    larger = open_data({"kind": "images", "size": (12, 16), "channels": 3}, "unused").train[0]
    assert larger["images"].shape == (12, 16, 3)


def test_folder(pictures):
    data = images(pictures, validation=0.25, mean=0.0, std=1.0)
    assert data.classes == ("apple", "zebra") and len(data.train) + len(data.valid) == 40
    seen = set()
    for source in (data.train, data.valid):
        for i in range(len(source)):
            row = source[i]
            value = round(float(row["images"].mean()) * 255 / 5)
            assert row["images"].shape == (8, 8, 3) and row["labels"] == value % 2
            seen.add(value)
    assert seen == set(range(40))
    assert images(pictures, validation=0.25, mean=0.0, std=1.0).fingerprint == data.fingerprint
    assert images(pictures, validation=0.25, mean=0.1, std=1.0).fingerprint != data.fingerprint


def test_validation_folder(pictures, tmp_path):
    held = tmp_path / "held" / "zebra"
    held.mkdir(parents=True)
    (pictures / "zebra" / "1.png").rename(held / "1.png")
    data = images(pictures, validation=str(tmp_path / "held"))
    assert len(data.train) == 39 and len(data.valid) == 1 and data.valid[0]["labels"] == 1
    (tmp_path / "held" / "yak").mkdir()
    (held / "1.png").rename(tmp_path / "held" / "yak" / "1.png")
    held.rmdir()
    with pytest.raises(XfmError, match="held has class folders that .*pictures has not"):
        images(pictures, validation=str(tmp_path / "held"))


def test_scaling_is_of_the_centre(tmp_path):
    from PIL import Image

    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 255
    (tmp_path / "p" / "c").mkdir(parents=True)
    for i in range(20):
        Image.fromarray(wide).save(tmp_path / "p" / "c" / f"{i}.png")
    row = images(tmp_path / "p", channels=1, mean=0.0, std=1.0).train[0]
    np.testing.assert_array_equal(row["images"], np.ones((8, 8, 1), np.float32))


def test_flip_and_crop():
    image = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    rng = np.random.default_rng(0)
    flips = [Flip()(image, rng) for _ in range(200)]
    turned = sum(np.array_equal(flip, image[:, ::-1]) for flip in flips)
    assert 60 < turned < 140 and all(f is image or np.array_equal(f[:, ::-1], image) for f in flips)
    wide = np.pad(image, ((2, 2), (2, 2), (0, 0)), "symmetric")
    places = {wide[y : y + 4, x : x + 4].tobytes() for y in range(5) for x in range(5)}
    crops = {np.ascontiguousarray(Crop(2)(image, rng)).tobytes() for _ in range(400)}
    assert crops == places


def test_augmentation_is_new_each_epoch_and_the_same_after_a_resume(pictures):
    spec = [{"kind": "flip"}, {"kind": "crop", "pad": 3}]
    pytest.importorskip("sklearn")
    data = open_data({"kind": "images", "augment": spec}, "unused")
    n = len(data.train)
    batches = Batches(data.train, n, seed=5)
    first, second = batches.rows(0), batches.rows(1)
    order = [np.argsort(batches.indices(step)) for step in (0, 1)]
    same = (first["images"][order[0]] == second["images"][order[1]]).all((1, 2, 3))
    assert np.array_equal(first["labels"][order[0]], second["labels"][order[1]])
    assert same.mean() < 0.2
    again = Batches(data.train, n, seed=5).rows(1, 100, 110)
    np.testing.assert_array_equal(again["images"], second["images"][100:110])
    plain = Batches(data.valid, 4, seed=5).rows(0)["images"]
    want = [data.valid[i]["images"] for i in Batches(data.valid, 4, seed=5).indices(0)]
    np.testing.assert_array_equal(plain, want)


@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_corrupt_image_is_named_when_read(pictures, damage):
    path = pictures / "apple" / "2.png"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2] if damage == "cut" else b"noise" * 9)

    def read(data):
        return [source[i] for source in (data.train, data.valid) for i in range(len(source))]

    with pytest.raises(XfmError, match=r"apple/2\.png cannot be read as an image .* corrupt='next'"):
        read(images(pictures))
    other = images(pictures, corrupt="next")
    assert len(read(other)) == 40 and other.fingerprint == images(pictures).fingerprint


def test_bad_folders(pictures, tmp_path):
    with pytest.raises(XfmError, match=r"holds no file that ends in one of \.png, \.jpg, \.jpeg"):
        (tmp_path / "none").mkdir()
        images(tmp_path / "none")
    with pytest.raises(XfmError, match="needs 'size'"):
        images(pictures, size=None)
    for fields, message in (
        ({"size": 0}, "size is 0; it must be a whole number of at least 1"),
        ({"channels": 2}, "channels=2 is not 1"),
        ({"std": 0.0}, "std is 0.0; it must be a number above 0"),
        ({"mean": (0.1, 0.2)}, "mean=.* is not a number, nor one for each of 3 channels"),
        ({"augment": [{"kind": "flop"}]}, "did you mean 'flip'"),
        ({"corrupt": "skip"}, "corrupt is 'skip'; it must be 'error' or 'next'"),
        ({"validation": 1e-9}, "the valid split of .* holds none of 40 images"),
    ):
        with pytest.raises(XfmError, match=message):
            images(pictures, **fields)
    (pictures / "bare").mkdir()
    with pytest.raises(XfmError, match="bare holds no .png, .jpg, .jpeg image"):
        images(pictures)
    (pictures / "bare" / "x.png").touch()
    with pytest.raises(XfmError, match=r"x\.png is empty"):
        images(pictures)
    (pictures / "bare" / "x.png").rename(pictures / "x.png")
    with pytest.raises(XfmError, match=r"x\.png is in no class folder"):
        images(pictures)
