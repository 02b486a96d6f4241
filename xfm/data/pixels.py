"""From a picture to an array of fixed size, channels and range; and random augmentations of such arrays."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from xfm.fields import Count, CountOrZero, Number, Positive, Share
from xfm.files import optional
from xfm.images.reading import is_deep, of_bits, on_background, upright
from xfm.spec import SpecError

Image = Float[np.ndarray, "H W C"]


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Pre-processing of pictures: crop, scale, and normalise.

    size: side in pixels, or (height, width). The largest centred part of that aspect ratio is cropped and scaled to it
    (bilinear).
    channels: 1 (grey) or 3 (RGB).
    mean, std: a number, or one per channel, for values in [0, 1]; the result is (x - mean) / std.
    background: the colour behind transparent pixels, a level of grey or (red, green, blue) in [0, 1].
    """

    size: Count | tuple[Count, Count]
    channels: Count = 3
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    background: Share | tuple[Share, Share, Share] = 1.0

    def __post_init__(self):
        sides = self.shape[:2]
        if not all(isinstance(side, int) and side > 0 for side in sides):
            raise SpecError(f"size={self.size!r} is neither a side in pixels nor (height, width)")
        if self.channels not in (1, 3):
            raise SpecError(f"channels={self.channels!r} is neither 1 (grey) nor 3 (red, green, blue)")
        for name in ("mean", "std"):
            value = _numbers(getattr(self, name))
            if value.shape not in ((), (self.channels,)) or not np.all(
                np.isfinite(value) & (value > 0 if name == "std" else True)
            ):
                raise SpecError(
                    f"{name}={getattr(self, name)!r} is neither a number nor one for each of "
                    f"{self.channels} channels" + (", above 0" if name == "std" else "")
                )
        colour = _numbers(self.background)
        if colour.shape not in ((), (3,)) or not np.all((colour >= 0) & (colour <= 1)):
            raise SpecError(
                f"background={self.background!r} is neither a level of grey nor (red, green, blue), from 0 to 1"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width, self.channels

    def of_picture(self, picture: Any) -> Image:
        """The array of a Pillow image of any size, turned upright by its EXIF orientation and put on the background.

        Colour modes are converted to grey or RGB; grey levels of 16 bits are divided by 65535. Raises XfmError for
        32-bit integers and floats, whose range is unknown.
        """
        ops = optional("PIL.ImageOps", "vision")
        height, width, _ = self.shape
        picture, most = self._opaque(upright(picture), picture.format)
        if picture.size != (width, height):
            picture = ops.fit(picture, (width, height), 2)  # 2: bilinear, with antialiasing
        return self.of_values(np.asarray(picture, np.float32) / most)

    def _opaque(self, picture: Any, kind: str | None) -> tuple[Any, int]:
        """The picture in mode L or RGB by `channels` (or as 16-bit grey), and its value of white.

        kind: the format of its file.
        """
        if is_deep(picture, kind):
            levels = np.asarray(picture).astype(np.float32)
            return optional("PIL.Image", "vision").fromarray(levels), 65535
        colour = np.broadcast_to(np.rint(255 * np.asarray(self.background)), 3).astype(int).tolist()
        return on_background(picture, self.channels, colour), 255

    def of_array(self, array: np.ndarray, where: str) -> Image:
        """The result for an array of 8 or 16 bits, [H W] or [H W C], equal to that for a file with these pixels.

        C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha). Raises XfmError, naming `where`, for other arrays.
        """
        return self.of_picture(optional("PIL.Image", "vision").fromarray(of_bits(array, where)))

    def of_values(self, values: np.ndarray) -> Image:
        """The normalised array of values in [0, 1], [H W] or [H W C], that have the right height and width."""
        values = values[..., None] if values.ndim == 2 else values
        values = np.broadcast_to(values, self.shape)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return ((values - mean) / std).astype(np.float32)


def of_source(source: Any, side: int) -> Pixels:
    """The pixels of a source with the fields path, size, channels, mean, std and background.

    side: the size of its own grey images, which it has without a path. Raises SpecError for a folder without a size.
    """
    size, channels = source.size, source.channels
    if source.path is None:
        size, channels = side if size is None else size, 1 if channels is None else channels
    if size is None:
        raise SpecError("a folder of images needs 'size', the side in pixels that every image is scaled to")
    return Pixels(size, 3 if channels is None else channels, source.mean, source.std, source.background)


def _numbers(value: Any) -> np.ndarray:
    """The value as an array; NaN if it does not consist of numbers."""
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        return np.float32("nan")


@dataclasses.dataclass(frozen=True)
class Flip:
    """An augmentation that mirrors left and right with probability `chance`."""

    chance: Share = 0.5

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        return image[:, ::-1] if rng.random() < self.chance else image


@dataclasses.dataclass(frozen=True)
class Crop:
    """An augmentation that pads each edge with `pad` mirrored pixels and cuts out the original size at random."""

    pad: CountOrZero = 4

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        top, left = rng.integers(0, 2 * self.pad + 1, 2)
        wide = np.pad(image, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)), "symmetric")
        return wide[top : top + image.shape[0], left : left + image.shape[1]]


AUGMENTS = {
    "flip": Flip,
    "crop": Crop,
}
