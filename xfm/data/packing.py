"""From documents of any length to rows of one length.

Documents come as one flat array of ids and the length of each, in order. `stream` makes rows
without padding in which documents follow each other; `documents` keeps every document apart by
segments, for attention that must not cross (Krell et al., "Efficient Sequence Packing without
Cross-contamination", 2021).
"""

import numpy as np
from jaxtyping import Int

Tokens = Int[np.ndarray, "n"]
Lengths = Int[np.ndarray, "docs"]


def stream(
    tokens: Tokens, lengths: Lengths, length: int, *, cls: int | None, sep: int | None, pad: int = 0
) -> dict[str, Int[np.ndarray, "rows T"]]:
    """Documents, each followed by `sep`, cut into rows of `length` that each start with `cls`.

    The end that does not fill a row is dropped (fewer than `length` tokens), so no row holds
    padding.
    """
    flat = tokens if sep is None else np.insert(tokens, np.cumsum(lengths), sep)
    body = length - (cls is not None)
    rows = len(flat) // body
    grid = flat[: rows * body].reshape(rows, body).astype(np.int32)
    if cls is not None:
        grid = np.concatenate([np.full((rows, 1), cls, np.int32), grid], axis=1)
    return {"tokens": grid}


def documents(
    tokens: Tokens, lengths: Lengths, length: int, *, cls: int | None, sep: int | None, pad: int = 0
) -> dict[str, Int[np.ndarray, "rows T"]]:
    """Several documents a row: `segments` 1..k in order and 0 for padding at the end, `positions`
    anew per segment.

    Each segment is `cls`, a document, `sep`; a document too long for a row is split, each piece
    being a segment. Pieces go, in order, to the fullest row that has room for them (online best
    fit).
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
    """The share of places that hold padding, in [0, 1)."""
    segments = rows.get("segments")
    return 0.0 if segments is None or segments.size == 0 else float(np.mean(segments == 0))


def ramp(sizes: Lengths) -> Int[np.ndarray, "n"]:
    """0, 1, … size - 1 for each size, one after the other."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)


def _pieces(lengths, room: int):
    """Where each piece starts in the flat array and its size; a document longer than `room` is
    several pieces.
    """
    count = np.maximum(-(-lengths // room), 1)  # an empty document is one empty piece
    part = ramp(count)
    starts = np.repeat(np.cumsum(lengths) - lengths, count) + part * room
    return starts, np.minimum(np.repeat(lengths, count) - part * room, room)


def best_fit(
    sizes: Lengths, length: int
) -> tuple[Int[np.ndarray, "docs"], Int[np.ndarray, "docs"], Int[np.ndarray, "docs"], int]:
    """Row, offset in it and number (from 1) of each piece, and the number of rows.

    Rows with room wait in one list per amount of room; the bits of `waiting` tell which lists are
    not empty, so the least sufficient room is found by one shift.
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
