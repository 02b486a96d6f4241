"""An image or a video cut into patches, which are rows of numbers."""

import math

from jaxtyping import Array, Float

from xfm.errors import XfmError


def patchify(images: Float[Array, "B *sides C"], patch: tuple[int, ...]) -> Float[Array, "B T patch"]:
    """Patches in row-major order, each flattened as (row, column, channel).

    Of videos they are tubelets, (frame, row, column, channel), with one side more.
    """
    B, *sides, C = images.shape
    if any(side % one for side, one in zip(sides, patch, strict=True)):
        size, of = (" x ".join(map(str, one)) for one in (sides, patch))
        raise XfmError(f"an image of {size} does not divide into patches of {of}")
    counts = [side // one for side, one in zip(sides, patch, strict=True)]
    split = images.reshape(B, *(n for pair in zip(counts, patch, strict=True) for n in pair), C)
    last = 2 * len(sides) + 1
    x = split.transpose(0, *range(1, last, 2), *range(2, last, 2), last)
    return x.reshape(B, math.prod(counts), math.prod(patch) * C)


def seen_in(patch: tuple[int, ...]) -> str:
    """The name in a batch of what divides into such patches: "video" for those of three sides, else "images"."""
    return "video" if len(patch) == 3 else "images"
