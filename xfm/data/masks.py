"""Images with a class for each pixel: a folder of images and one of masks, or scenes of handwritten digits."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xfm import locations
from xfm.data.pixels import AUGMENTS, Pixels, of_source
from xfm.data.scenes import CLASSES, Scenes
from xfm.data.source import Data, Row
from xfm.data.text import check_share
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Fraction, Integer, Name, Number, Positive, Share
from xfm.files import File, fingerprint, first_line, listing, optional, share
from xfm.spec import SpecError, build

SCENE = 32  # side in pixels of a scene of digits
IMAGES = (".png", ".jpg", ".jpeg")
JOINT = ("flip", "crop")  # augmentations that move pixels and leave their values alone


@dataclasses.dataclass(frozen=True)
class Masks:
    """A data source of images, each with a mask of class numbers.

    path: a folder with the folders `images` and `masks`, in which a mask has the name of its image and ends in .png;
    None for scenes of scikit-learn's digits.  A mask has one number per pixel, of a palette or grey.
    size, channels, mean, std, background: of images, see Pixels; masks are cropped alike and scaled to the nearest
    pixel. A folder needs `size`; scenes are 32 x 32 x 1 by default.
    classes: their names, in the order of their numbers; a folder needs them.
    first: the number in masks of the first class; lower ones do not count (1 where 0 means "none").
    ignore: the label of pixels that do not count, and that number in masks.
    augment: specs of "flip" and "crop", applied in order to an image and its mask alike.
    validation: share of the images, chosen by a hash of their names; or the path of another such folder.
    scenes: the number of scenes of each epoch.
    """

    path: Name | None = None
    size: Count | tuple[Count, Count] | None = None
    channels: Count | None = None
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    background: Share | tuple[Share, Share, Share] = 1.0
    classes: Sequence[str] = ()
    first: CountOrZero = 0
    ignore: Integer = 255
    augment: Sequence[Mapping[str, Any]] = ()
    validation: Fraction | Name = 0.1
    scenes: Count = 2000

    PATHS: ClassVar = {"path": locations.path, "validation": locations.path}

    def open(self, workdir: Path) -> Data:
        """Both splits as sources of `images` [H W C] and `labels` [H W]; nothing is written to `workdir`.

        Raises SpecError for bad fields or an empty split, and XfmError for files that do not fit together.
        """
        self.check()
        pixels = of_source(self, SCENE)
        augments = [build(AUGMENTS, spec) for spec in self.augment]
        how = (pixels.shape, self.mean, self.std, self.background, self.first, self.ignore, self.augment)
        if self.path is None:
            if isinstance(self.validation, str):
                raise SpecError("scenes are split by a share; give a number between 0 and 1 as 'validation'")
            check_share(self.validation)
            held_count = max(1, round(self.scenes * self.validation))
            train, held = (
                Pairs(Scenes(pixels, count, split, self.validation), augments)
                for count, split in ((self.scenes, "train"), (held_count, "valid"))
            )
            classes, marks = CLASSES, [self.scenes, self.validation]
        else:
            classes, marks = tuple(self.classes), None
            train, held, marks = self._folders(pixels, augments)
        facts = {"train_rows": len(train), "valid_rows": len(held), "classes": len(classes)}
        return Data(train, held, None, None, fingerprint(marks, classes, how), classes, facts)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        shape = of_source(self, SCENE).shape
        return {"images": (shape, np.float32), "labels": (shape[:2], np.int32)}

    def check(self) -> None:
        """Raises SpecError for fields that do not fit together."""
        for spec in self.augment:
            if spec.get("kind") not in JOINT:
                raise SpecError(
                    f"masks: the augmentation {spec.get('kind')!r} is not one that can move a mask like its image; "
                    f"choose from {', '.join(JOINT)}"
                )
        if self.path is not None and len(self.classes) < 2:
            raise SpecError("a folder of masks needs 'classes', the names of all classes in the order of their numbers")

    def _folders(self, pixels: Pixels, augments: Sequence[Callable]):
        found = paired(self.path)
        if isinstance(self.validation, str):
            split = found, paired(self.validation)
        else:
            check_share(self.validation)
            valid = [share(image.name) < self.validation for image, _ in found]
            split = tuple(
                [one for one, held in zip(found, valid, strict=True) if held == side] for side in (False, True)
            )
        for name, files in zip(("train", "valid"), split, strict=True):
            if not files:
                raise SpecError(
                    f"the {name} split of {self.path} has none of the {len(found)} images; change the share "
                    "'validation', or give more images"
                )
        marks = [[(image.name, image.size, mask.size) for image, mask in files] for files in split]
        read = [Folder(files, pixels, self.first, self.ignore, len(self.classes)) for files in split]
        return Pairs(read[0], augments), Pairs(read[1], ()), marks


def paired(folder: str) -> list[tuple[File, File]]:
    """The images of a folder with their masks, by name. Raises XfmError for an image without a mask or the reverse."""
    base = locations.expanded(folder)
    images, masks = listing(base / "images", IMAGES), listing(base / "masks", (".png",))
    of = {file.name.rpartition(".")[0]: file for file in masks}
    for file in images:
        if file.name.rpartition(".")[0] not in of:
            raise XfmError(f"{file.path} has no mask of that name in {base / 'masks'}; add {Path(file.name).stem}.png")
    if len(of) != len(images):
        names = {file.name.rpartition(".")[0] for file in images}
        alone = next((file for name, file in of.items() if name not in names), masks[0])
        raise XfmError(f"{alone.path} is not the mask of exactly one image in {base / 'images'}; remove it")
    return [(file, of[file.name.rpartition(".")[0]]) for file in images]


@dataclasses.dataclass(frozen=True)
class Folder:
    """Rows of files: (image, mask).  first, ignore: see Masks."""

    files: Sequence[tuple[File, File]]
    pixels: Pixels
    first: int
    ignore: int
    classes: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Row:
        image, mask = self.files[index]
        of_image, size = opened(image.path, lambda picture: (self.pixels.of_picture(picture), picture.size))
        levels = opened(mask.path, lambda picture: self._levels(picture, size, mask.path))
        labels = levels.astype(np.int32) - self.first
        labels = np.where((levels == self.ignore) | (labels < 0), self.ignore, labels)
        wrong = labels[(labels != self.ignore) & (labels >= self.classes)]
        if wrong.size:
            raise XfmError(
                f"{mask.path} has the number {wrong.max() + self.first}, which is none of the {self.classes} classes "
                f"from {self.first} on, nor {self.ignore}; set 'classes', 'first' or 'ignore'"
            )
        return {"images": of_image, "labels": labels.astype(np.int32)}

    def _levels(self, picture: Any, size: tuple[int, int], path: Path) -> np.ndarray:
        """The numbers of the mask, cropped as its image was."""
        if picture.mode not in ("P", "L", "1"):
            raise XfmError(f"{path} has colours (mode {picture.mode}), and a mask holds a number per pixel; convert it")
        if picture.size != size:
            raise XfmError(
                f"{path} has {picture.size[0]} x {picture.size[1]} pixels, and its image {size[0]} x {size[1]}"
            )
        levels = optional("PIL.Image", "vision").fromarray(np.asarray(picture).astype(np.uint8))
        height, width, _ = self.pixels.shape
        if levels.size != (width, height):
            levels = optional("PIL.ImageOps", "vision").fit(levels, (width, height), 0)  # 0: the nearest pixel
        return np.asarray(levels)


def opened(path: Path, read: Callable) -> Any:
    """What `read` makes of the picture. Raises XfmError, naming the file, if it cannot be decoded."""
    image = optional("PIL.Image", "vision")
    try:
        with image.open(path) as picture:
            return read(picture)
    except XfmError:
        raise
    except Exception as error:  # decoders raise exceptions of any type on damaged files
        raise XfmError(f"{path} cannot be read as an image ({first_line(error)}); repair or remove it") from error


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The rows of one split, and the augmentations of its training rows."""

    rows: Any
    augments: Sequence[Callable]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.rows[index % len(self)]

    def augment(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with every augmentation applied to its image and to its mask with the same random numbers."""
        images, labels = row["images"], row["labels"][..., None]
        for change in self.augments:
            seed = rng.integers(2**32)
            images, labels = (change(x, np.random.default_rng(seed)) for x in (images, labels))
        return {**row, "images": images, "labels": labels[..., 0]}
