"""Packs texts into the rows of batches, with few shapes and little padding.

The texts of a chunk are taken from the longest to the shortest, and each is put into the row with the least sufficient
room (best fit decreasing; Johnson 1974), so that short texts fill the room that long ones leave. A network is compiled
once per shape (rows, width). There are few shapes: widths are from a short list, and a batch is full or has a round
number of rows.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

WIDTHS = (16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
ROW = 128  # the width of rows for short texts


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch of `rows` rows of `width` tokens, each with at most `slots` texts.

    text: the indices of its texts.  row: the row of each.  start: its first position there.
    slot: its number in the row, from 0.
    """

    rows: int
    width: int
    slots: int
    text: Int[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " n"]
    slot: Int[np.ndarray, " n"]


def slots_of(width: int) -> int:
    """The largest number of texts in a packed row of `width` tokens."""
    return max(1, width // 8)


def plan(lengths: Int[np.ndarray, " n"], tokens: int, longest: int, layout: str = "packed") -> list[Batch]:
    """The batches for texts of these lengths in tokens, the widest first.

    tokens: the approximate size of a full batch.  longest: the largest width, at least the largest length.
    layout: "packed", with several texts in a row, or "separate", with one.
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
    """The smallest width of packed rows: ROW, or less if all texts fit into a single shorter row.

    total: tokens of all texts.  texts: their number.
    """
    fits = [width for width in widths if width >= total and slots_of(width) >= texts]
    return min([ROW, *fits, widths[-1]])


def _width(length: int, widths: list[int]) -> int:
    return next(width for width in widths if width >= length)


def _pack(lengths: list[int], widths: list[int]) -> list[tuple[int, list[tuple[int, int]]]]:
    """The width of each row, and its texts with their first positions: (width, [(text, start), …]).

    Rows are kept in one list per amount of room left; bit r of `waiting` is set if the list for room r is not empty.
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
    """The smallest number from 1, 2, 3, 4, 6, 8, 12, 16, … that is at least `rows`."""
    power = 1 << (rows - 1).bit_length()
    return power * 3 // 4 if power >= 4 and rows <= power * 3 // 4 else power


def lay(
    batch: Batch, sizes: Int[np.ndarray, " n"], flat: Mapping[str, Int[np.ndarray, " t"]]
) -> dict[str, Int[np.ndarray, "rows width"]]:
    """Arrays with one number per token, moved from flat order (text after text) to the rows of a batch.

    sizes: tokens of each text.  Cells without a token are 0.
    """
    cells = np.repeat(batch.row * batch.width + batch.start, sizes) + ramp(sizes)
    laid = {}
    for name, values in flat.items():
        laid[name] = np.zeros((batch.rows, batch.width), np.int32)
        laid[name].reshape(-1)[cells] = values
    return laid


def ramp(sizes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " t"]:
    """The numbers 0, 1, … size - 1 for each size, concatenated."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
