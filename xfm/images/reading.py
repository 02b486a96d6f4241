"""Pictures of any kind as Pillow images in one mode: paths, Pillow images, and arrays of 8 or 16 bits.

What counts as transparent, and what a level of 16 bits is, is decided here for the whole package.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xfm.errors import XfmError
from xfm.files import first_line, optional

WHITE = (255, 255, 255)
OPAQUE = {"La": "LA", "RGBa": "RGBA"}  # modes with premultiplied alpha -> the same with straight alpha
ORIENTATION = 0x0112  # EXIF's tag
CHANNELS = {1: "L", 3: "RGB"}


def read(picture: Any, channels: int, where: str) -> Any:
    """The Pillow image in mode L (`channels` 1) or RGB (3), turned upright by its EXIF orientation.

    picture: a path, a Pillow image, or an array [H W] or [H W C] of 8 or 16 bits, where C is 1 (grey), 2 (grey, alpha),
    3 (RGB) or 4 (RGB, alpha). Transparent pixels are put on white. Levels of 16 bits lose their lower byte.
    where: the picture's name in errors. Raises XfmError for what is no such picture, or cannot be decoded.
    """
    image = optional("PIL.Image", "vision")
    if isinstance(picture, str | Path):
        try:
            with image.open(Path(picture).expanduser()) as opened:
                return _converted(opened, channels, str(picture))
        except XfmError:
            raise
        except Exception as error:  # decoders raise exceptions of any type on damaged files
            raise XfmError(f"{picture} cannot be read as an image: {first_line(error)}") from error
    if not isinstance(picture, image.Image):
        picture = image.fromarray(of_bits(picture, where))
    try:
        return _converted(picture, channels, where)
    except XfmError:
        raise
    except Exception as error:
        raise XfmError(f"{where} cannot be read: {first_line(error)}") from error


def of_bits(array: Any, where: str) -> np.ndarray:
    """The array that Pillow can take, [H W] or [H W C]: grey of 8 or 16 bits, other channels of 8.

    Raises XfmError, naming `where`, for other arrays.
    """
    array = np.asarray(array)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    said = f"{where} is {array.dtype} {array.shape}"
    if array.dtype.kind == "f":
        raise XfmError(f"{said}, where an image of 8 or 16 bits should be; give it as uint8, from 0 to 255")
    deep = array.dtype.kind == "u" and array.dtype.itemsize == 2
    if (
        not (array.dtype == np.uint8 or deep)
        or array.ndim not in (2, 3)
        or array.shape[2:] not in ((), (2,), (3,), (4,))
    ):
        raise XfmError(
            f"{said}, where an image of 8 or 16 bits should be, [height, width] or [height, width, channels]"
        )
    if 0 in array.shape:
        raise XfmError(f"{said}, which has no pixel; leave it out")
    if deep:  # Colours keep their upper byte, as when Pillow reads them from a file.
        return array.astype(np.uint16) if array.ndim == 2 else (array >> 8).astype(np.uint8)
    return np.ascontiguousarray(array)


def is_deep(picture: Any, kind: str | None) -> bool:
    """Whether a picture is grey of 16 bits.  kind: the format of its file, since older versions of Pillow open such a
    PNG in mode "I". Raises XfmError for 32-bit integers and floats, and for a transparent level of 16 bits.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind == "PNG"):
        if "transparency" in picture.info:
            raise XfmError("a 16-bit grey image with a transparent level cannot be read; save it in 8 bits")
        return True
    if picture.mode in ("I", "F"):
        raise XfmError(f"pixels of mode {picture.mode} (32 bits) have no known range; save them in 8 or 16 bits")
    return False


def upright(picture: Any) -> Any:
    """The picture turned by its EXIF orientation; itself, not a copy, if it is upright already."""
    if picture.getexif().get(ORIENTATION, 1) == 1:
        return picture
    return optional("PIL.ImageOps", "vision").exif_transpose(picture)


def on_background(picture: Any, channels: int, colour: Sequence[int] = WHITE) -> Any:
    """A picture of 8 bits in mode L or RGB, with its transparent pixels put on a colour."""
    if picture.mode == CHANNELS[channels] and "transparency" not in picture.info:
        return picture
    if _transparent(picture):
        image = optional("PIL.Image", "vision")
        whole = picture.convert(OPAQUE.get(picture.mode, "RGBA")).convert("RGBA")
        picture = image.alpha_composite(image.new("RGBA", whole.size, (*colour, 255)), whole)
    return picture.convert(CHANNELS[channels])


def _converted(picture: Any, channels: int, where: str) -> Any:
    picture.load()  # a file's pixels are decoded only now
    kind, turned = picture.format, upright(picture)
    try:
        deep = is_deep(turned, kind)
    except XfmError as error:
        raise XfmError(f"{where} cannot be read: {error}") from None
    if deep:
        turned = optional("PIL.Image", "vision").fromarray((np.asarray(turned) >> 8).astype(np.uint8))
    return on_background(turned, channels)


def _transparent(picture: Any) -> bool:
    """Whether a picture may have transparent pixels: an alpha channel, a palette with alpha, a transparent colour."""
    palette = getattr(picture.palette, "mode", "") if picture.mode == "P" else ""
    return "transparency" in picture.info or f"{picture.mode}{palette}"[-1] in "Aa"
