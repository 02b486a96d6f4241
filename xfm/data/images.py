"""Images with labels: a folder of class folders, or the handwritten digits that come with scikit-learn."""

import collections
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int

from xfm import locations
from xfm.data.pixels import AUGMENTS, Pixels, of_source
from xfm.data.source import Data, Row
from xfm.data.text import check_share
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Name, Number, Positive, Share
from xfm.files import File, apart, fingerprint, listing, optional, share
from xfm.locations import expanded
from xfm.spec import SpecError, build

DIGITS = 8  # side in pixels of scikit-learn's digits
SUFFIXES = (".png", ".jpg", ".jpeg")
# Types of image files that are not read; they are listed so that the run's header can report them as left out.
OTHERS = (
    ".avif", ".bmp", ".cr2", ".dng", ".gif", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".jxl", ".nef", ".pbm", ".pgm",
    ".pnm", ".ppm", ".svg", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Images:
    """A data source of images, each with the number of its class.

    path: a folder that holds one folder of images per class (classes are sorted by name); None for the 1797 digits of
    scikit-learn.
    size, channels, mean, std, background: see Pixels. A folder needs `size`; the digits are 8x8x1 by default.
    stored: size of training images, if config.augment makes images of `size` of them; those of validation have `size`.
    augment: specs of AUGMENTS, applied in order to training images, with new random numbers in every epoch.
    validation: share of the images, chosen by a hash of their names; or the path of a folder of validation images,
    outside `path`. A file that both folders have by links is only a validation image.
    corrupt: what to do about an image that cannot be read: "error", or "next" to use the next readable image instead;
    the log then counts such images of training as `unreadable`, and each is named once.

    Files of type .png, .jpg and .jpeg are read; the run's header counts image files of other types, which are left out.
    An image is read when its row is requested; opening the source only checks that each file exists and is not empty.
    """

    path: Name | None = None
    size: Count | tuple[Count, Count] | None = None
    channels: Count | None = None
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    background: Share | tuple[Share, Share, Share] = 1.0
    stored: Count | tuple[Count, Count] | None = None
    augment: Sequence[Mapping[str, Any]] = ()
    validation: Fraction | Name = 0.1
    corrupt: Literal["error", "next"] = "error"

    PATHS: ClassVar = {"path": locations.path, "validation": locations.path}

    def open(self, workdir: Path) -> Data:
        """Both splits as sources of `images` [H W C] and `labels` []; nothing is written to `workdir`.

        Raises SpecError for bad fields or an empty split, and XfmError for a folder that is not one of class folders.
        """
        if self.corrupt not in ("error", "next"):
            raise SpecError(f"corrupt={self.corrupt!r} is not one of error, next")
        ours = of_source(self, DIGITS)
        names, read, labels, classes, marks, notes = self._digits() if self.path is None else self._folder()
        valid = [split == "valid" for split in self._splits(names)]
        augments = [build(AUGMENTS, spec) for spec in self.augment]

        def source(wanted: bool, augments, pixels):
            keep = np.flatnonzero(np.array(valid) == wanted)
            if not len(keep):
                split = "valid" if wanted else "train"
                raise SpecError(
                    f"the {split} split of {self.path or 'the digits'} has none of the {len(names)} images; change the "
                    "share 'validation', or give more images"
                )
            return Pictures(read, labels, keep, pixels, augments, self.corrupt, ours)

        larger = ours if self.stored is None else dataclasses.replace(ours, size=self.stored)
        train, held = source(False, augments, larger), source(True, [], ours)
        how = (ours.shape, self.mean, self.std, self.background, self.augment, valid)
        how += () if self.stored is None else (larger.shape,)
        facts = {"train_rows": len(train), "valid_rows": len(held), "classes": len(classes)}
        return Data(train, held, None, None, fingerprint(marks, classes, how), classes, facts, notes)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return {"images": (of_source(self, DIGITS).shape, np.float32), "labels": ((), np.int32)}

    def _splits(self, names: list[tuple[str | None, str]]) -> list[str]:
        if not isinstance(self.validation, str):
            check_share(self.validation)
            return ["valid" if share(name) < self.validation else "train" for _, name in names]
        if self.path is None:
            raise SpecError("the digits are split by a share; give a number between 0 and 1 as 'validation'")
        return [split for split, _ in names]

    def _digits(self):
        count, read, labels = digits()
        names = [(None, f"digit {i}") for i in range(count)]
        return names, read, labels, tuple("0123456789"), [count], ()

    def _folder(self):
        image = optional("PIL.Image", "vision")
        folders = {"train": self.path}
        if isinstance(self.validation, str):
            folders["valid"] = self.validation
            _check_beside(expanded(self.validation), expanded(self.path))
        listed = {split: listing(folder, SUFFIXES, also=OTHERS) for split, folder in folders.items()}
        found = {split: [f for f in files if f.path.suffix.lower() in SUFFIXES] for split, files in listed.items()}
        notes = _left_out([file for files in listed.values() for file in files])
        classes = tuple(_classes(folders["train"], found["train"]))
        if "valid" in found and not set(_classes(folders["valid"], found["valid"])) <= set(classes):
            raise XfmError(f"{self.validation} has class folders that {self.path} does not have")
        found["train"] = apart(found["train"], found.get("valid", ()))
        files = [(split, file) for split in found for file in found[split]]
        if empty := [file.path for _, file in files if file.size == 0]:
            raise XfmError(f"{empty[0]} is empty, so it is not an image; remove it ({len(empty)} such files in all)")
        number = {name: i for i, name in enumerate(classes)}
        labels = np.array([number[file.name.partition("/")[0]] for _, file in files], np.int32)

        def read(index: int, pixels: Pixels) -> np.ndarray:
            path = files[index][1].path
            try:
                with image.open(path) as picture:
                    return pixels.of_picture(picture)
            except Exception as error:  # decoders raise exceptions of any type on damaged files
                raise XfmError(
                    f"{path} cannot be read as an image ({error}); repair it, or set corrupt='next' to use the next "
                    "image instead"
                ) from error

        marks = [(split, file.name, file.size) for split, file in files]
        return [(split, file.name) for split, file in files], read, labels, classes, marks, notes


def digits() -> tuple[int, Callable[[int, Pixels], np.ndarray], Int[np.ndarray, " count"]]:
    """The digits of scikit-learn: how many there are, a function from a number and pixels to an image, and labels."""
    found = optional("sklearn.datasets", "vision").load_digits()
    images, labels = found.images.astype(np.float32) / 16, found.target.astype(np.int32)

    def read(index: int, pixels: Pixels) -> np.ndarray:
        if pixels.shape[:2] == images.shape[1:]:
            return pixels.of_values(images[index])
        picture = optional("PIL.Image", "vision").fromarray(images[index])
        scaled = picture.resize(pixels.shape[1::-1], 2)
        return pixels.of_values(np.asarray(scaled))

    return len(labels), read, labels


def _check_beside(held: Path, path: Path) -> None:
    """Raises XfmError if the validation folder lies inside the training folder, where it would be a class."""
    if path.resolve() in held.resolve().parents:
        raise XfmError(
            f"the validation folder {held} lies inside {path}, where its images would be trained on as a class; move "
            "it, or give 'path' a folder without it"
        )


def _classes(folder: Any, files) -> list[str]:
    """Class names, sorted. Raises XfmError if an image is beside the class folders, or if one holds no images."""
    if loose := [file for file in files if "/" not in file.name]:
        raise XfmError(f"{loose[0].path} is in no class folder; {folder} should hold one folder per class")
    names = sorted({file.name.partition("/")[0] for file in files})
    here = {one.name for one in expanded(folder).iterdir() if one.is_dir()}
    if bare := sorted(name for name in here - set(names) if not name.startswith(".")):
        path = expanded(folder) / bare[0]
        if path.is_symlink() and any(os.path.samefile(path, expanded(folder) / name) for name in names):
            raise XfmError(f"{path} links to a folder that is read under another name; remove the link")
        raise XfmError(f"{path} holds no {', '.join(SUFFIXES)} image; fill or remove this class")
    return names


def _left_out(files: Sequence[File]) -> tuple[str, ...]:
    """A note for the run's header about images whose type is not read. Raises XfmError if no other image is there."""
    out = [file for file in files if file.path.suffix.lower() in OTHERS]
    if not out:
        return ()
    counts = sorted(collections.Counter(file.path.suffix.lower() for file in out).items())
    counted = ", ".join(f"{count} {suffix}" for suffix, count in counts)
    note = f"{counted} not read, such as {out[0].path}; convert images to .png or .jpg"
    if len(out) == len(files):
        raise XfmError(f"no image of {', '.join(SUFFIXES)} is there, but {note}")
    return (f"images left out: {note}",)


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The rows of one split: `images` [H W C] float32 and `labels` [] int32.

    read: (index, pixels) -> image.  labels: of all images.  keep: the indices of the images of this split.
    validation: the pixels of rows of validation.
    unreadable: images that were passed over so far -> the reason, which names the file.
    """

    read: Callable[[int, Pixels], np.ndarray]
    labels: np.ndarray
    keep: np.ndarray
    pixels: Pixels
    augments: Sequence[Callable]
    corrupt: str
    validation: Pixels
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)
    decodes: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Row:
        """The row of an image. Raises XfmError, naming the file, if it cannot be read; with corrupt="next" only if none
        can be read.
        """
        return self.numbered(index)[1]

    def numbered(self, index: int) -> tuple[int, Row]:
        """The number of the row that is read, `index` unless that cannot be read, and the row."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        tries = 1 if self.corrupt == "error" else len(self)
        for further in range(tries):
            number = (index + further) % len(self)
            chosen = int(self.keep[number])
            try:
                return number, {"images": self.read(chosen, self.pixels), "labels": self.labels[chosen]}
            except XfmError as error:
                if further == tries - 1:
                    raise
                self.unreadable[f"image {chosen}"] = str(error).partition("; ")[0]
        raise AssertionError("the last attempt returns or raises")

    def plain(self) -> "Pictures":
        """The same images without augmentation, in the size of those of validation."""
        return dataclasses.replace(self, pixels=self.validation, augments=())

    def augment(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with every augmentation applied to its image, in order."""
        for change in self.augments:
            row = {**row, "images": change(row["images"], rng)}
        return row
