"""Images with masks: palettes, cropping, numbers that do not count, what does not fit together. Takes two seconds."""

import numpy as np
import pytest

from xfm.data import open_data
from xfm.errors import XfmError

image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)


def written(folder, count=10, size=(8, 8), numbers=None, mode="L"):
    """Images whose red channel is 40 times the class of each pixel, and their masks; returns the folder."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        classes = RNG.integers(0, 4, size).astype(np.uint8) if numbers is None else np.asarray(numbers, np.uint8)
        colours = np.stack([40 * classes, np.zeros_like(classes), np.zeros_like(classes)], -1)
        image.fromarray(colours).save(folder / "images" / f"{i}.png")
        mask = image.fromarray(classes)
        if mode == "P":
            mask.putpalette([(7 * i) % 256 for i in range(768)])
        mask.convert(mode).save(folder / "masks" / f"{i}.png") if mode == "RGB" else mask.save(
            folder / "masks" / f"{i}.png"
        )
    return folder


def of(folder, **fields):
    spec = dict(kind="masks", path=str(folder), size=8, mean=0.0, std=1.0, classes=list("abcd"), validation=0.3)
    return open_data({**spec, **fields}, "unused")


@pytest.mark.parametrize("mode", ["L", "P"])
def test_numbers_of_a_mask_are_the_classes_of_its_image(tmp_path, mode):
    data = of(written(tmp_path, mode=mode))
    assert data.classes == tuple("abcd") and len(data.train) + len(data.valid) == 10
    for row in (data.train[0], data.valid[0]):
        np.testing.assert_array_equal(np.rint(255 * row["images"][..., 0] / 40), row["labels"])
        assert row["labels"].dtype == np.int32


def test_a_mask_is_cropped_and_scaled_like_its_image(tmp_path):
    numbers = np.repeat(np.repeat(np.arange(4).reshape(2, 2), 4, 0), 6, 1)  # four rectangles, of 8 x 12 in all
    row = of(written(tmp_path, numbers=numbers), size=4).train[0]
    np.testing.assert_array_equal(row["labels"], np.repeat(np.repeat(np.arange(4).reshape(2, 2), 2, 0), 2, 1))
    np.testing.assert_array_equal(np.rint(255 * row["images"][::3, ::3, 0] / 40), row["labels"][::3, ::3])


def test_augmentations_move_both_alike(tmp_path):
    data = of(written(tmp_path), augment=[dict(kind="flip"), dict(kind="crop", pad=3)])
    seen = []
    for seed in range(8):
        row = data.train.augment(data.train[1], np.random.default_rng(seed))
        np.testing.assert_array_equal(np.rint(255 * row["images"][..., 0] / 40), row["labels"])
        seen.append(row["labels"].tobytes())
    assert len(set(seen)) > 4


def test_numbers_that_do_not_count(tmp_path):
    numbers = np.array([[0, 1], [2, 255]]).repeat(4, 0).repeat(4, 1)
    row = of(written(tmp_path, numbers=numbers), first=1).train[0]
    assert np.unique(row["labels"]).tolist() == [0, 1, 255] and (row["labels"][:4, :4] == 255).all()
    row = of(tmp_path, ignore=2, classes=[*"abcd", *map(str, range(252))]).train[0]
    assert np.unique(row["labels"]).tolist() == [0, 1, 2, 255]


def test_scenes_are_of_digits_that_the_other_split_does_not_have():
    pytest.importorskip("sklearn")
    data = open_data(dict(kind="masks", scenes=20, validation=0.2, size=[24, 32]), "unused")
    assert len(data.train) == 20 and len(data.valid) == 4 and len(data.classes) == 11
    own = [set(side.rows._own.tolist()) for side in (data.train, data.valid)]
    assert not own[0] & own[1] and len(own[0] | own[1]) == 1797
    labels = np.stack([row["labels"] for row in data.train])
    assert set(np.unique(labels)) == set(range(11)) and 0.6 < (labels == 0).mean() < 0.9
    dark, bright = (
        np.stack([row["images"][..., 0] for row in data.train])[labels == 0 if d else labels > 0] for d in (1, 0)
    )
    assert dark.mean() < bright.mean() - 0.5


def test_objects_have_numbers(tmp_path):
    """Those of the mask as they are, or of the digits of a scene, of which no two have one number."""
    numbers = np.array([[0, 1], [200, 255]]).repeat(4, 0).repeat(4, 1)
    row = open_data(
        dict(kind="objects", path=str(written(tmp_path, numbers=numbers)), size=8, validation=0.3), "unused"
    ).train[0]
    assert np.unique(row["labels"]).tolist() == [0, 1, 200, 255]
    pytest.importorskip("sklearn")
    of_digits, of_classes = (open_data(dict(kind=kind, scenes=5), "unused").train for kind in ("objects", "masks"))
    for digits, classes in ((a["labels"], b["labels"]) for a, b in zip(of_digits, of_classes, strict=True)):
        assert np.array_equal(digits > 0, classes > 0)
        for number in set(np.unique(digits)) - {0}:
            rows, columns = np.nonzero(digits == number)
            assert np.ptp(rows) < 8 and np.ptp(columns) < 8 and len(np.unique(classes[digits == number])) == 1


@pytest.mark.parametrize(
    "fields,change,said",
    [
        (dict(classes=[]), None, "a folder of masks needs 'classes'"),
        (dict(size=None), None, "needs 'size'"),
        (dict(augment=[dict(kind="noise")]), None, "'noise' is not one that can move a mask like its image"),
        ({}, lambda f: (f / "masks" / "3.png").unlink(), "3.png has no mask of that name in .*masks; add 3.png"),
        ({}, lambda f: (f / "images" / "3.png").unlink(), "3.png is not the mask of exactly one image"),
        (dict(classes=["a", "b"]), None, "the number 3, which is none of the 2 classes from 0 on, nor 255"),
        (
            {},
            lambda f: image.new("L", (5, 5)).save(f / "masks" / "3.png"),
            "3.png has 5 x 5 pixels, and its image 8 x 8",
        ),
        (
            {},
            lambda f: image.new("RGB", (8, 8)).save(f / "masks" / "3.png"),
            "has colours .mode RGB., and a mask holds",
        ),
        ({}, lambda f: (f / "masks" / "3.png").write_bytes(b"no image"), "3.png cannot be read as an image"),
        (dict(path=None, validation="held"), None, "scenes are split by a share"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, fields, change, said):
    written(tmp_path)
    if change is not None:
        change(tmp_path)
    with pytest.raises(XfmError, match=said):
        data = of(tmp_path, **fields)
        for source in (data.train, data.valid):
            for index in range(len(source)):
                source[index]
