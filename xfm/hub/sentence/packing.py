"""Which texts go into which row of which batch: few shapes, little padding.

Texts of one chunk are taken from the longest to the shortest, each into the fullest row that has room for it (best fit
decreasing; Johnson 1974), so that short ones fill what long ones leave. A network is compiled once per shape (rows,
width), and shapes are few: widths of a short list, and rows of a full batch or a round number.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

WIDTHS = (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
ROW = 128  # tokens of a row that holds short texts


@dataclasses.dataclass(frozen=True)
class Batch:
    """`rows` rows of `width` tokens, with room for `slots` texts each.

    text: which texts; row, start: where each of them lies; slot: its number in the row, from 0.
    """

    rows: int
    width: int
    slots: int
    text: Int[np.ndarray, "n"]
    row: Int[np.ndarray, "n"]
    start: Int[np.ndarray, "n"]
    slot: Int[np.ndarray, "n"]


def slots_of(width: int) -> int:
    """Texts that a packed row may hold."""
    return max(1, width // 8)


def plan(lengths: Int[np.ndarray, "n"], tokens: int, longest: int, layout: str = "packed") -> list[Batch]:
    """The batches of texts with so many tokens each, the longest first.

    tokens: of a full batch, about.  longest: the largest width, at least that of the longest text.
    layout: "packed", several texts to a row, or "separate".
    """
    widths = [width for width in WIDTHS if width < longest] + [longest]
    order = np.argsort(-np.asarray(lengths), kind="stable")
    if not len(order):
        return []
    if layout == "packed":
        least = _least(int(np.sum(lengths)), len(order), widths)
        rows = _pack(np.asarray(lengths)[order].tolist(), [width for width in widths if width >= least])
    else:
        rows = [(_width(n, widths), [(i, 0)]) for i, n in enumerate(np.asarray(lengths)[order].tolist())]
    batches = []
    for width in sorted({width for width, _ in rows}, reverse=True):
        alike = [held for own, held in rows if own == width]
        full = max(1, tokens // width)
        for first in range(0, len(alike), full):
            batches.append(_batch(alike[first : first + full], width, full, order, layout))
    return batches


def _least(total: int, texts: int, widths: list[int]) -> int:
    """The width of rows for short texts: ROW, or less where all of them fit into less."""
    fits = [width for width in widths if width >= total and slots_of(width) >= texts]
    return min([ROW, *fits, widths[-1]])


def _width(length: int, widths: list[int]) -> int:
    return next(width for width in widths if width >= length)


def _pack(lengths: list[int], widths: list[int]) -> list[tuple[int, list[tuple[int, int]]]]:
    """(width, [(text, start), …]) of each row.

    Rows with room wait in one list per amount of room; the bits of `waiting` tell which lists are not empty.
    """
    rows: list[tuple[int, list[tuple[int, int]]]] = []
    lists: list[list[int]] = [[] for _ in range(widths[-1] + 1)]
    waiting = 0
    for i, size in enumerate(lengths):
        enough = waiting >> size
        if enough:
            room = size + (enough & -enough).bit_length() - 1
            at = lists[room].pop()
            if not lists[room]:
                waiting ^= 1 << room
        else:
            room, at = _width(size, widths), len(rows)
            rows.append((room, []))
        width, held = rows[at]
        held.append((i, width - room))
        left = room - size
        if left and len(held) < slots_of(width):
            lists[left].append(at)
            waiting |= 1 << left
    return rows


def _batch(alike, width: int, full: int, order, layout: str) -> Batch:
    count = min(full, _rounded(len(alike)))
    cells = [(i, row, start, slot) for row, held in enumerate(alike) for slot, (i, start) in enumerate(held)]
    text, row, start, slot = (np.array(column, np.int64) for column in zip(*cells, strict=True))
    return Batch(count, width, slots_of(width) if layout == "packed" else 1, order[text], row, start, slot)


def _rounded(rows: int) -> int:
    """1, 2, 3, 4, 6, 8, 12, 16, …: the next of these."""
    power = 1 << (rows - 1).bit_length()
    return power * 3 // 4 if power >= 4 and rows <= power * 3 // 4 else power


def lay(
    batch: Batch, sizes: Int[np.ndarray, "n"], flat: Mapping[str, Int[np.ndarray, "t"]]
) -> dict[str, Int[np.ndarray, "rows width"]]:
    """Arrays of one number per token, text after text, laid into the rows of a batch; 0 where no text lies."""
    place = np.repeat(batch.row * batch.width + batch.start, sizes) + ramp(sizes)
    laid = {}
    for name, values in flat.items():
        laid[name] = np.zeros((batch.rows, batch.width), np.int32)
        laid[name].reshape(-1)[place] = values
    return laid


def ramp(sizes: Int[np.ndarray, "n"]) -> Int[np.ndarray, "t"]:
    """0, 1, … size - 1 for each size, one after the other."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
