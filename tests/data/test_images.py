"""The image source, its augmentation, and what is said of bad images."""

import re
import threading

import numpy as np
import pytest

from xfm.data import Batches, open_data
from xfm.data.pixels import Crop, Flip, Pixels
from xfm.errors import XfmError
from xfm.spec import SpecError

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
    with pytest.raises(XfmError, match="held has class folders that .*pictures does not have"):
        images(pictures, validation=str(tmp_path / "held"))


def test_validation_images_are_not_trained_on(pictures, tmp_path):
    """Neither as a class of their own, nor through a link."""
    (pictures / "held").mkdir()
    (pictures / "held" / "zebra").symlink_to(pictures / "zebra")
    with pytest.raises(XfmError, match="held lies inside .*pictures, where its images would be trained on as a class"):
        images(pictures, validation=str(pictures / "held"))
    (pictures / "held").rename(tmp_path / "held")
    data = images(pictures, validation=str(tmp_path / "held"))
    assert data.classes == ("apple", "zebra") and [row["labels"] for row in data.valid] == [1] * 20
    assert [row["labels"] for row in data.train] == [0] * 20


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
    with pytest.raises(XfmError, match=r"has no file that ends in one of \.png, \.jpg, \.jpeg"):
        (tmp_path / "none").mkdir()
        images(tmp_path / "none")
    with pytest.raises(XfmError, match="needs 'size'"):
        images(pictures, size=None)
    for fields, message in (
        ({"size": 0}, "size is 0; it must be a whole number of at least 1"),
        ({"channels": 2}, "channels=2 is neither 1"),
        ({"std": 0.0}, "std is 0.0; it must be a number above 0"),
        ({"mean": (0.1, 0.2)}, "mean=.* is neither a number nor one for each of 3 channels"),
        ({"augment": [{"kind": "flop"}]}, "did you mean 'flip'"),
        ({"corrupt": "skip"}, "corrupt is 'skip'; it must be 'error' or 'next'"),
        ({"validation": 1e-9}, "the valid split of .* has none of the 40 images"),
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


GREY = np.tile(np.linspace(0, 1, 16), (16, 1))


def saved(folder, picture, name="0.png", **how):
    """The image row that a file gives, for one channel and for three."""
    (folder / "c").mkdir(parents=True, exist_ok=True)
    for i in range(8):
        picture.save(folder / "c" / f"{i}{name[1:]}", **how)
    rows = [images(folder, size=16, channels=c, mean=0.0, std=1.0, validation=0.3).train[0] for c in (1, 3)]
    return [row["images"] for row in rows]


def of_array(array, channels, **fields):
    return Pixels(16, channels, mean=0.0, std=1.0, **fields).of_array(array, "row 7")


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bits_are_scaled(tmp_path, dtype):
    from PIL import Image

    deep = (GREY * 65535).astype(dtype)
    found = saved(tmp_path, Image.fromarray(deep.astype(np.uint16)))
    found += [of_array(deep, 1), of_array(deep[..., None], 3)]
    big = Image.frombytes("I;16B", (16, 16), deep.astype(">u2").tobytes())
    found.append(Pixels(16, 1, mean=0.0, std=1.0).of_picture(big))
    for image in found:
        np.testing.assert_allclose(image, np.repeat(GREY[..., None], image.shape[-1], 2), rtol=0, atol=2e-5)
    halved = Pixels(8, 1, mean=0.0, std=1.0).of_array(deep, "")[0, :, 0]
    assert np.all(np.diff(halved) > 0.1) and 0 < halved[0] < 0.1  # scaled in 16 bits, not clipped
    third = deep // 3
    colours = np.stack([third, third, third], -1)
    np.testing.assert_allclose(of_array(colours, 3)[..., 1], GREY / 3, rtol=0, atol=1 / 255)


def test_unknown_ranges_are_refused(tmp_path):
    from PIL import Image

    for mode, dtype in (("I", np.int32), ("F", np.float32)):
        with pytest.raises(
            XfmError, match=f"pixels of mode {mode} .32 bits. have no known range; save them in 8 or 16"
        ):
            Pixels(16).of_picture(Image.fromarray(np.ones((16, 16), dtype)))
        with pytest.raises(XfmError, match=f"row 7 is {np.dtype(dtype)} .*, where an image of 8 or 16 bits should be"):
            of_array(np.ones((16, 16), dtype), 3)
    with pytest.raises(XfmError, match=r"row 7 is uint8 \(4, 4, 5\), where an image"):
        of_array(np.ones((4, 4, 5), np.uint8), 3)
    with pytest.raises(XfmError, match="0.png cannot be read as an image .a 16-bit grey image with a trans"):
        saved(tmp_path, Image.fromarray((GREY * 65535).astype(np.uint16)), transparency=0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "PA", "RGBa", "La"])
def test_transparency_shows_the_background(tmp_path, mode):
    """The left half is opaque grey 100; of the right half nothing is to be seen, whatever colour is hidden there."""
    from PIL import Image

    array = np.full((16, 16, 4), 100, np.uint8)
    array[..., 3], array[:, 8:] = 255, (200, 200, 200, 0)
    how, picture = {}, Image.fromarray(array)
    if mode in ("RGB", "L", "P"):
        picture = Image.fromarray(array[..., :3])
        picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
        how["transparency"] = {"RGB": (200, 200, 200), "L": 200, "P": picture.getpixel((9, 0))}[mode]
        found = saved(tmp_path, picture, **how)
    elif mode == "PA":  # no file has it, but a palette may come out of a decoder with alpha
        picture = Image.frombytes("PA", (16, 16), np.ascontiguousarray(array[..., 2:]).tobytes())
        picture.putpalette([i for level in range(256) for i in (level, level, level)])
        found = [Pixels(16, c, mean=0.0, std=1.0).of_picture(picture) for c in (1, 3)]
    elif mode in ("RGBa", "La"):
        picture = picture if mode == "RGBa" else picture.convert("LA")
        found = [Pixels(16, c, mean=0.0, std=1.0).of_picture(picture.convert(mode)) for c in (1, 3)]
    else:
        picture = picture.convert(mode)
        found = saved(tmp_path, picture)
        for channels, own in zip((1, 3), found, strict=True):
            np.testing.assert_array_equal(own, of_array(np.asarray(picture), channels))
        with_grey = images(tmp_path, size=16, mean=0.0, std=1.0, validation=0.3, background=0.2).train[0]["images"]
        np.testing.assert_allclose(with_grey[:, 8:], 0.2, atol=1e-6)
        red = of_array(np.asarray(picture), 3, background=(1.0, 0.0, 0.2))
        np.testing.assert_allclose(red[0, [0, 15]], [[100 / 255] * 3, [1, 0, 0.2]], atol=1e-6)
        assert of_array(np.asarray(picture), 1, background=0.0)[0, 15] == 0
    for image in found:
        np.testing.assert_allclose(image[:, :8], 100 / 255, atol=2 / 255)
        np.testing.assert_array_equal(image[:, 8:], 1)


def test_half_transparent_is_mixed():
    array = np.full((16, 16, 4), 100, np.uint8)
    array[..., 3] = 51  # a fifth
    np.testing.assert_allclose(of_array(array, 3), (100 * 0.2 + 255 * 0.8) / 255, atol=1 / 255)


def test_palettes_and_cmyk(tmp_path):
    from PIL import Image

    colours = np.zeros((16, 16, 3), np.uint8)
    colours[:, :8], colours[:, 8:] = (255, 0, 0), (0, 0, 255)
    for name, mode in (("0.png", "P"), ("0.jpg", "CMYK")):
        _, found = saved(tmp_path / mode, Image.fromarray(colours).convert(mode), name)
        np.testing.assert_allclose(found[0, [2, 13]], [[1, 0, 0], [0, 0, 1]], atol=0.03)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    """A picture stored turned, with the orientation that turns it back, is the picture; also in 16 bits."""
    from PIL import Image

    upright = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for deep in (False, True):
        picture = Image.fromarray(stored.astype(np.uint16) * 257 if deep else np.ascontiguousarray(stored))
        picture.save(tmp_path / "x.png", exif=exif)
        with Image.open(tmp_path / "x.png") as read:
            found = Pixels(16, 1, mean=0.0, std=1.0).of_picture(read)
        np.testing.assert_allclose(found[..., 0] * 255, upright, atol=1e-3)


def test_images_of_other_types_are_named(pictures):
    for i, name in enumerate(("a.webp", "b.webp", "c.GIF", ".hidden.heic")):
        (pictures / ("apple" if i else "zebra") / name).write_bytes(b"x")
    data = images(pictures)
    assert len(data.train) + len(data.valid) == 40
    (note,) = data.notes
    assert re.fullmatch(
        r"images left out: 1 .gif, 2 .webp not read, such as .*apple/b.webp; convert images to .*", note
    )
    for path in pictures.rglob("*.*g"):
        path.unlink()
    with pytest.raises(XfmError, match="no image of .png, .jpg, .jpeg is there, but 1 .gif, 2 .webp not read"):
        images(pictures)


@pytest.mark.parametrize("background", [1.5, -0.1, (1, 0), (0, 0, float("nan")), "white"])
def test_a_background_is_a_colour(background):
    with pytest.raises(SpecError, match="is neither a level of grey nor .red, green, blue., from 0 to 1"):
        Pixels(8, background=background)


def test_corrupt_images_are_counted_and_named(pictures):
    """Under corrupt="next" each is passed over, once in the count however often it is met."""
    for name in ("apple/2.png", "zebra/7.png"):
        (pictures / name).write_bytes(b"noise" * 9)
    source = images(pictures, corrupt="next", validation=0.05).train
    for _ in range(2):
        assert len([source[i] for i in range(len(source))]) == len(source)
    reasons = sorted(source.unreadable.values())
    assert len(reasons) == 2 and all("cannot be read as an image" in reason for reason in reasons)
    assert "apple/2.png" in reasons[0] and "repair" not in reasons[0]


def test_files_of_desktops_are_not_images(pictures):
    """Those that file managers leave behind, among them one that ends like an image."""
    known = images(pictures).fingerprint
    for name in (".DS_Store", "apple/.DS_Store", "apple/._2.png", "zebra/Thumbs.db", "zebra/desktop.ini"):
        (pictures / name).write_bytes(b"not an image")
    assert images(pictures).fingerprint == known
    (pictures / "empty").mkdir()
    with pytest.raises(XfmError, match="empty holds no .png, .jpg, .jpeg image; fill or remove this class"):
        images(pictures)


def test_threads_read_the_same_rows_at_once(pictures, monkeypatch):
    """In order, and with the same augmentation; rows that wait do not wait for one another."""
    source = images(pictures, augment=({"kind": "flip"},)).train
    alone = Batches(source, 12, seed=1)
    monkeypatch.setattr("xfm.data.batches.cores", lambda: 1)
    assert alone._threads is None
    several = Batches(source, 12, seed=1)
    monkeypatch.setattr("xfm.data.batches.cores", lambda: 4)
    for step in range(3):
        for name, array in several.rows(step).items():
            np.testing.assert_array_equal(array, alone.rows(step)[name])
    barrier = threading.Barrier(4, timeout=20)

    class Waiting:
        decodes = True

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {"x": np.int32(barrier.wait() and index)}

    batches = Batches(Waiting(), 4, seed=None)
    batches.__dict__["_row"] = {"x": ((), np.dtype(np.int32))}
    assert batches.rows(0)["x"].shape == (4,)
