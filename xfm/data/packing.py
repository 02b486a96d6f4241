"""Packing: from documents of any length to rows of one length.

Documents are given as one flat array of ids and an array of lengths. `stream` makes rows without padding in which
documents follow each other; `documents` separates documents by segments, so that attention does not cross from one to
another (Krell et al., "Efficient Sequence Packing without Cross-contamination", 2021).
"""

import numpy as np
from jaxtyping import Int

Ids = Int[np.ndarray, "n"]
Lengths = Int[np.ndarray, "docs"]


def stream(
    tokens: Ids, lengths: Lengths, length: int, *, cls: int | None, sep: int | None, pad: int = 0
) -> dict[str, Int[np.ndarray, "rows T"]]:
    """Rows of `tokens` only: documents, each followed by `sep`, cut into rows of `length` tokens that begin with `cls`.

    tokens, lengths: the ids of all documents, and the length of each.  length: T.  cls, sep: ids, or None for none.
    The last tokens, which do not fill a row, are dropped, so no row has padding (`pad` is not used).
    """
    flat = tokens if sep is None else np.insert(tokens, np.cumsum(lengths), sep)
    body = length - (cls is not None)
    rows = len(flat) // body
    grid = flat[: rows * body].reshape(rows, body).astype(np.int32)
    if cls is not None:
        grid = np.concatenate([np.full((rows, 1), cls, np.int32), grid], axis=1)
    return {"tokens": grid}


def documents(
    tokens: Ids, lengths: Lengths, length: int, *, cls: int | None, sep: int | None, pad: int = 0
) -> dict[str, Int[np.ndarray, "rows T"]]:
    """Rows of several documents: `tokens`, `segments` (1..k, and 0 for padding at the end) and `positions`, which
    begin at 0 in every segment.

    Arguments as in `stream`; `pad` is the id of padding. A segment is `cls`, a document, `sep`; a document too long for
    a row is split into several segments. In order, each piece goes to the row with the least sufficient room (online
    best fit).
    """
    ends = (cls is not None) + (sep is not None)
    starts, sizes = _pieces(np.asarray(lengths, np.int64), length - ends)
    row, offset, segment, rows = best_fit(sizes + ends, length)
    to = row * length + offset
    out = {name: np.zeros(rows * length, np.int32) for name in ("tokens", "segments", "positions")}
    out["tokens"][:] = pad
    within = ramp(sizes + ends)
    whole = np.repeat(to, sizes + ends) + within
    out["segments"][whole] = np.repeat(segment, sizes + ends)
    out["positions"][whole] = within
    inner = ramp(sizes)
    out["tokens"][np.repeat(to + (cls is not None), sizes) + inner] = tokens[np.repeat(starts, sizes) + inner]
    if cls is not None:
        out["tokens"][to] = cls
    if sep is not None:
        out["tokens"][to + sizes + ends - 1] = sep
    return {name: array.reshape(rows, length) for name, array in out.items()}


def padding_share(rows: dict[str, Int[np.ndarray, "rows T"]]) -> float:
    """The share of positions that hold padding, in [0, 1)."""
    segments = rows.get("segments")
    return 0.0 if segments is None or segments.size == 0 else float(np.mean(segments == 0))


def ramp(sizes: Lengths) -> Int[np.ndarray, " n"]:
    """The numbers 0, 1, … size - 1 for each size, concatenated."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)


def _pieces(lengths, room: int):
    """The start of each piece in the flat array, and its size; a document longer than `room` makes several pieces."""
    count = np.maximum(-(-lengths // room), 1)  # an empty document is one empty piece
    part = ramp(count)
    starts = np.repeat(np.cumsum(lengths) - lengths, count) + part * room
    return starts, np.minimum(np.repeat(lengths, count) - part * room, room)


def best_fit(
    sizes: Lengths, length: int
) -> tuple[Int[np.ndarray, " docs"], Int[np.ndarray, " docs"], Int[np.ndarray, " docs"], int]:
    """Online best-fit packing: the row of each piece, its offset there, its number there (from 1); and the row count.

    sizes: of the pieces.  length: of a row.
    Rows are kept in one list per amount of room left. Bit r of `waiting` is set if the list for room r is not empty,
    so that a shift finds the least sufficient room.
    """
    row, offset, segment = (np.empty(len(sizes), np.int64) for _ in range(3))
    lists: list[list[int]] = [[] for _ in range(length + 1)]
    held: list[int] = []
    waiting = 0
    for i, size in enumerate(sizes.tolist()):
        enough = waiting >> size
        if enough:
            room = size + (enough & -enough).bit_length() - 1
            r = lists[room].pop()
            if not lists[room]:
                waiting ^= 1 << room
        else:
            room, r = length, len(held)
            held.append(0)
        held[r] += 1
        row[i], offset[i], segment[i] = r, length - room, held[r]
        left = room - size
        if left:
            lists[left].append(r)
            waiting |= 1 << left
    return row, offset, segment, len(held)


PACKINGS = {"stream": stream, "documents": documents}
