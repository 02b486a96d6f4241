"""From a picture to an array of one shape: size, channels, range; and random changes of it, which
are data.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Number, Positive, Share
from xfm.files import optional
from xfm.spec import SpecError

Image = Float[np.ndarray, "H W C"]


@dataclasses.dataclass(frozen=True)
class Pixels:
    """size: side, or (height, width); the largest centred part of that shape is cut out and scaled
    (bilinear).

    channels: 1 (grey) or 3.  mean, std: numbers, or one per channel, of values in [0, 1]; y = (x -
    mean) / std.
    background: what shows through where a picture is transparent, a level of grey or (red, green, blue) in [0, 1].
    """

    size: Count | tuple[Count, Count]
    channels: Count = 3
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    background: Share | tuple[Share, Share, Share] = 1.0

    def __post_init__(self):
        sides = self.shape[:2]
        if not all(isinstance(side, int) and side > 0 for side in sides):
            raise SpecError(f"size={self.size!r} is not a side in pixels, nor (height, width)")
        if self.channels not in (1, 3):
            raise SpecError(f"channels={self.channels!r} is not 1 (grey) or 3 (red, green, blue)")
        for name in ("mean", "std"):
            value = _numbers(getattr(self, name))
            if value.shape not in ((), (self.channels,)) or not np.all(
                np.isfinite(value) & (value > 0 if name == "std" else True)
            ):
                raise SpecError(
                    f"{name}={getattr(self, name)!r} is not a number, nor one for each of "
                    f"{self.channels} channels" + (", above 0" if name == "std" else "")
                )
        colour = _numbers(self.background)
        if colour.shape not in ((), (3,)) or not np.all((colour >= 0) & (colour <= 1)):
            raise SpecError(
                f"background={self.background!r} is neither a level of grey nor (red, green, blue), from 0 to 1"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width, self.channels

    def of_picture(self, picture: Any) -> Image:
        """Of a pillow image of any size: upright by its EXIF orientation, and without transparency.

        Modes are brought to grey or RGB; 16 bits of grey are divided by 65535. Raises XfmError for 32-bit integers and
        floats, whose range no file says.
        """
        ops = optional("PIL.ImageOps", "vision")
        height, width, _ = self.shape
        picture, most = self._opaque(ops.exif_transpose(picture), picture.format)
        if picture.size != (width, height):
            picture = ops.fit(picture, (width, height), 2)  # 2: bilinear, with antialiasing
        return self.of_values(np.asarray(picture, np.float32) / most)

    def _opaque(self, picture: Any, kind: str | None) -> tuple[Any, int]:
        """The picture in the mode that the channels ask for, and its value of white.  kind: the format of its file."""
        image = optional("PIL.Image", "vision")
        if picture.mode.startswith("I;16") or (picture.mode == "I" and kind == "PNG"):  # older pillows say I
            if "transparency" in picture.info:
                raise XfmError("a transparent level among 16 bits of grey is not read; save it in 8 bits")
            return image.fromarray(np.asarray(picture).astype(np.float32)), 65535
        if picture.mode in ("I", "F"):
            raise XfmError(f"pixels of mode {picture.mode} (32 bits) have no known range; save them in 8 or 16 bits")
        if _transparent(picture):
            whole = picture.convert(OPAQUE.get(picture.mode, "RGBA")).convert("RGBA")
            colour = np.broadcast_to(np.rint(255 * np.asarray(self.background)), 3).astype(int).tolist()
            picture = image.alpha_composite(image.new("RGBA", whole.size, (*colour, 255)), whole)
        return picture.convert("L" if self.channels == 1 else "RGB"), 255

    def of_array(self, array: np.ndarray, where: str) -> Image:
        """Of 8 or 16 bits [H W] or [H W C], of one channel (grey), two (grey, alpha), three or four (RGB, alpha).

        The same as of a file with these pixels. Raises XfmError, naming `where`, for others.
        """
        array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
        deep = array.dtype.kind == "u" and array.dtype.itemsize == 2
        if (
            not (array.dtype == np.uint8 or deep)
            or array.ndim not in (2, 3)
            or array.shape[2:] not in ((), (2,), (3,), (4,))
        ):
            raise XfmError(f"{where} is not an image of 8 or 16 bits but {array.dtype} {array.shape}")
        if deep:  # of colours the upper byte, as pillow reads them from a file
            array = array.astype(np.uint16) if array.ndim == 2 else (array >> 8).astype(np.uint8)
        return self.of_picture(optional("PIL.Image", "vision").fromarray(array))

    def of_values(self, values: np.ndarray) -> Image:
        """Of values in [0, 1], of the right height and width, [H W] or [H W C]."""
        values = values[..., None] if values.ndim == 2 else values
        values = np.broadcast_to(values, self.shape)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return ((values - mean) / std).astype(np.float32)


def _numbers(value: Any) -> np.ndarray:
    """As an array; NaN for what is no number."""
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        return np.float32("nan")


OPAQUE = {"La": "LA", "RGBa": "RGBA"}  # colours multiplied by alpha -> colours as they are


def _transparent(picture: Any) -> bool:
    """Whether a pixel may be transparent: by a channel, by a palette that holds alpha, or by one colour that is."""
    palette = getattr(picture.palette, "mode", "") if picture.mode == "P" else ""
    return "transparency" in picture.info or f"{picture.mode}{palette}"[-1] in "Aa"


@dataclasses.dataclass(frozen=True)
class Flip:
    """Left and right exchanged with probability `chance`."""

    chance: Share = 0.5

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        return image[:, ::-1] if rng.random() < self.chance else image


@dataclasses.dataclass(frozen=True)
class Crop:
    """A part of the same size, at a random place, of the image with `pad` pixels mirrored at each
    edge.
    """

    pad: CountOrZero = 4

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        top, left = rng.integers(0, 2 * self.pad + 1, 2)
        wide = np.pad(image, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)), "symmetric")
        return wide[top : top + image.shape[0], left : left + image.shape[1]]


AUGMENTS = {
    "flip": Flip,
    "crop": Crop,
}
