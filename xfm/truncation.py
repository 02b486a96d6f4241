"""Which tokens of one or two texts are kept where a row has too little room."""

from collections.abc import Sequence


def kept(sizes: Sequence[int], room: int, side: str = "right") -> list[tuple[int, int]]:
    """[first, end) of each text, together no more than `room`: the longer text loses until both are as long.

    Of an odd number the first text keeps one more, as where tokens are taken off one at a time, the second text's
    first. side: which ends are lost, "right" or "left".
    """
    half = [room - room // 2, room // 2] if len(sizes) == 2 else [room]
    spare = room - sum(min(n, h) for n, h in zip(sizes, half, strict=True))  # of a text shorter than its half
    keep = [min(n, h + spare) for n, h in zip(sizes, half, strict=True)]
    return [(n - k, n) if side == "left" else (0, k) for n, k in zip(sizes, keep, strict=True)]
