"""From a picture to an array of one shape: size, channels, range; and random changes of it, which
are data.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from xfm.data.files import optional
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Number, Positive, Share
from xfm.spec import SpecError

Image = Float[np.ndarray, "H W C"]


@dataclasses.dataclass(frozen=True)
class Pixels:
    """size: side, or (height, width); the largest centred part of that shape is cut out and scaled
    (bilinear).

    channels: 1 (grey) or 3.  mean, std: numbers, or one per channel, of values in [0, 1]; y = (x -
    mean) / std.
    """

    size: Count | tuple[Count, Count]
    channels: Count = 3
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5

    def __post_init__(self):
        sides = self.shape[:2]
        if not all(isinstance(side, int) and side > 0 for side in sides):
            raise SpecError(f"size={self.size!r} is not a side in pixels, nor (height, width)")
        if self.channels not in (1, 3):
            raise SpecError(f"channels={self.channels!r} is not 1 (grey) or 3 (red, green, blue)")
        for name in ("mean", "std"):
            value = np.asarray(getattr(self, name), np.float32)
            if value.shape not in ((), (self.channels,)) or (name == "std" and np.any(value <= 0)):
                raise SpecError(
                    f"{name}={getattr(self, name)!r} is not a number, nor one for each of "
                    f"{self.channels} channels" + (", above 0" if name == "std" else "")
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width, self.channels

    def of_picture(self, picture: Any) -> Image:
        """Of a pillow image of any mode and size."""
        ops = optional("PIL.ImageOps", "vision")
        height, width, channels = self.shape
        picture = picture.convert("L" if channels == 1 else "RGB")
        if picture.size != (width, height):
            picture = ops.fit(picture, (width, height), 2)  # 2: bilinear, with antialiasing
        return self.of_values(np.asarray(picture, np.float32) / 255)

    def of_array(self, array: np.ndarray, where: str) -> Image:
        """Of bytes [H W], [H W 1] or [H W 3]. Raises XfmError, naming `where`, for others."""
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise XfmError(f"{where} is not an image of bytes but {array.dtype} {array.shape}")
        array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
        return self.of_picture(optional("PIL.Image", "vision").fromarray(array))

    def of_values(self, values: np.ndarray) -> Image:
        """Of values in [0, 1], of the right height and width, [H W] or [H W C]."""
        values = values[..., None] if values.ndim == 2 else values
        values = np.broadcast_to(values, self.shape)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return ((values - mean) / std).astype(np.float32)


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
