"""The image processor of a checkpoint: from pictures to the array that its network reads, in Pillow and NumPy.

The oracles are the image processors of transformers 5.24. Pillow scales pictures here, so that results equal those of
its slow classes bit for bit, except where a picture smaller than the crop is centred: there the fast ones, which are
its default, put the odd pixel elsewhere, and they are followed. The fast ones scale by torchvision, whose levels differ
from Pillow's by one as a rule (tests/hub/test_processors.py), and by up to three where bicubic scaling enlarges a
picture several times.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from xfm.errors import XfmError
from xfm.files import optional
from xfm.images.reading import read

Pair = tuple[int, int]
LARGEST = 2**28  # the most pixels that a picture is scaled to; more are needed only for the narrowest of pictures


@dataclasses.dataclass(frozen=True)
class Size:
    """The size that a picture is scaled to.

    kind: "exact", to `size`; "shortest", whose shorter side becomes `size[0]`, and if there is a `longest`, so that the
    longer one is at most that; "within", the largest one of the picture's shape inside `size`.
    """

    kind: Literal["exact", "shortest", "within"]
    size: Pair
    longest: int | None = None

    def of(self, height: int, width: int) -> Pair:
        """The new height and width of a picture."""
        if self.kind == "exact":
            return self.size
        if self.kind == "within":
            scale = min(self.size[0] / height, self.size[1] / width)
            return max(int(height * scale), 1), max(int(width * scale), 1)
        side, exact = self.size[0], None
        short, long = min(height, width), max(height, width)
        if self.longest is not None and long / short * side > self.longest:
            exact = self.longest * short / long
            side = round(exact)
        if self.longest is not None and short == side:
            return height, width
        other = int((side if exact is None else exact) * long / short)
        return (other, side) if width <= height else (side, other)


@dataclasses.dataclass(frozen=True)
class Processor:
    """`processor(pictures)` returns images [B H W C] float32 for `m(images=…)`.

    channels: of the network, 1 (grey) or 3 (RGB).  resize: None to keep the size.  resample: Pillow's filter.
    crop: height and width that are cut out of the middle, with black around a smaller picture.
    scale: factor of the levels 0 to 255, None for 1.  shift: added after that, -1 for levels from -1 to 1.
    mean, std: per channel, of (x - mean) / std; None for neither.
    pad: black is added at the right and below: "batch", up to the largest picture's size, or up to (height, width).
    first: "scale" if levels become floats before the picture is scaled, so that they are not rounded; or "resize".
    """

    channels: int = 3
    resize: Size | None = None
    resample: int = 2
    crop: Pair | None = None
    scale: float | None = 1 / 255
    shift: float = 0.0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pad: Literal["batch"] | Pair | None = None
    first: Literal["resize", "scale"] = "resize"

    def __call__(self, pictures: Any) -> Float[np.ndarray, "B H W C"]:
        """The images of one picture or of several, which may be of different sizes.

        pictures: paths, Pillow images, or arrays uint8 [H W] or [H W C] (see `xfm.images.reading.read`); an array
        [B H W C] is several.  Raises XfmError, naming the picture, if one cannot be read, and if the results differ in
        size.
        """
        several = list(pictures) if _several(pictures) else [pictures]
        if not several:
            raise XfmError("there is no picture in the list; give at least one")
        images = [self._one(read(one, self.channels, f"picture {i}"), f"picture {i}") for i, one in enumerate(several)]
        if self.pad is not None:
            images = _padded(images, self.pad)
        sizes = sorted({image.shape[:2] for image in images})
        if len(sizes) > 1:
            raise XfmError(
                f"the pictures become images of different sizes, {_words(sizes[0])} and {_words(sizes[1])} pixels, "
                "since the checkpoint's processor neither crops nor pads; give pictures of one size, or one at a time"
            )
        return np.stack(images)

    def _one(self, picture: Any, where: str) -> np.ndarray:
        width, height = picture.size
        if self.resize is not None:
            size = self.resize.of(height, width)
            if size[0] * size[1] > LARGEST:
                raise XfmError(
                    f"{where} has {_words((height, width))} pixels and would be scaled to {_words(size)}; cut a "
                    "part out of it that is less narrow"
                )
            image = self._resized(picture, size)
        else:
            image = np.asarray(picture)
        image = image[..., None] if image.ndim == 2 else image
        if self.crop is not None:
            image = centre(image, self.crop)
        if self.scale is not None and (self.first == "resize" or self.resize is None):
            image = (image.astype(np.float64) * self.scale).astype(np.float32)
        image = image.astype(np.float32) + np.float32(self.shift)
        if self.mean is not None:
            image = (image - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return image

    def _resized(self, picture: Any, size: Pair) -> np.ndarray:
        if self.first == "resize":
            return np.asarray(picture.resize(size[::-1], self.resample))
        make = optional("PIL.Image", "vision").fromarray
        levels = np.asarray(picture, np.float32) * np.float32(1 if self.scale is None else self.scale)
        bands = [levels] if levels.ndim == 2 else np.moveaxis(levels, -1, 0)
        return np.stack([np.asarray(make(band).resize(size[::-1], self.resample)) for band in bands], -1)


def centre(image: np.ndarray, crop: Pair) -> np.ndarray:
    """The middle of an image [H W C], with zeros around it where it is smaller than the crop."""
    short = [max(c - n, 0) for c, n in zip(crop, image.shape, strict=False)]
    if any(short):
        image = np.pad(image, [*((n // 2, n - n // 2) for n in short), (0, 0)])
    top, left = ((n - c) // 2 for n, c in zip(image.shape, crop, strict=False))
    return image[top : top + crop[0], left : left + crop[1]]


def _padded(images: Sequence[np.ndarray], pad: Literal["batch"] | Pair) -> list[np.ndarray]:
    to = tuple(max(image.shape[axis] for image in images) for axis in (0, 1)) if pad == "batch" else pad
    for i, image in enumerate(images):
        if image.shape[0] > to[0] or image.shape[1] > to[1]:
            raise XfmError(f"picture {i} becomes {_words(image.shape)} pixels, more than {_words(to)}, its padded size")
    return [np.pad(x, [*((0, n - m) for n, m in zip(to, x.shape, strict=False)), (0, 0)]) for x in images]


def _several(pictures: Any) -> bool:
    if isinstance(pictures, str | Path | Mapping):
        return False
    return getattr(pictures, "ndim", None) == 4 or isinstance(pictures, Sequence)


def _words(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
