"""Truncation of one text or a pair to the room in a row."""

from collections.abc import Sequence


def kept(sizes: Sequence[int], room: int, side: str = "right") -> list[tuple[int, int]]:
    """The range [first, end) of tokens of each text that is kept, together at most `room` tokens.

    sizes: tokens of one text or of two. Of a pair the longer text is truncated first, until both are equally long; if
    `room` is odd, the first text keeps one token more, as if tokens were removed one at a time, beginning with the
    second text.
    side: the end of a text that is cut off, "right" or "left".
    """
    half = [room - room // 2, room // 2] if len(sizes) == 2 else [room]
    spare = room - sum(min(n, h) for n, h in zip(sizes, half, strict=True))  # of a text shorter than its half
    keep = [min(n, h + spare) for n, h in zip(sizes, half, strict=True)]
    return [(n - k, n) if side == "left" else (0, k) for n, k in zip(sizes, keep, strict=True)]
