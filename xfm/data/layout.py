"""Layouts: how the texts of a batch are arranged in the rows that a network computes.

Each row of a source holds one text followed by padding. Layout "padded" keeps it that way. Layout "tokens" computes
real tokens only (unpadding): embeddings, norms, linear maps, feed-forward parts and attention work on rows in which
several texts follow each other, separated by segments; before pools and heads the tokens are put back into one row per
text. Zhai et al., "ByteTransformer" (2023); Warner et al., "Smarter, Better, Faster, Longer" (ModernBERT, 2024),
section 2.1.2.

A text never continues in another row, so with every implementation attention costs as much as rows of that length do.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from xfm.batch import part_of, prefixed, prefixes
from xfm.data.balance import deal, work
from xfm.data.batches import Batches, stacked
from xfm.data.packing import best_fit, ramp
from xfm.data.source import Row
from xfm.errors import XfmError
from xfm.fields import Count


@dataclasses.dataclass(frozen=True)
class Padded:
    """Rows as they are in the source: one text each, then padding."""

    def over(self, batches: Batches, ways: int = 1, accumulate: int = 1) -> Batches:
        """The same batches."""
        return batches


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Rows of real tokens, in which several texts follow each other.

    length: tokens of a row, at least T of the source; equal to it if None.
    rows: number of rows for each group of texts (one group per device and microbatch); too few raise an error. If None,
    all steps of a window have the smallest sufficient number of a coarse scale (see `rounded`), since each new number
    of rows compiles a new program.
    window: number of steps among which texts are exchanged, so that every step and every device has about equal work
    (see balance.py). Without shuffling, as in an evaluation, texts keep their order.
    width: D of the model, if work shall include a term quadratic in a text's length (see `balance.work`); if None, work
    is the number of tokens.
    """

    length: Count | None = None
    rows: Count | None = None
    window: Count = 16
    width: Count | None = None

    def over(self, batches: Batches, ways: int = 1, accumulate: int = 1) -> "Unpadded":
        """The batches in this layout.

        ways: number of devices among which the rows of a batch are divided.  accumulate: microbatches of a step.
        """
        return Unpadded(batches, self, ways * accumulate, accumulate)


class Unpadded:
    """Batches with an additional array `cells` [G R L]: for each of G groups of texts, R rows of L cells.
    Texts with a prefix have cells of their own, such as `positive/cells`.

    A cell holds the index of its token among the tokens of the group's texts, flattened (text · T + token), or a
    number beyond them if the cell is empty. Without gradient accumulation, group g has the g-th of G equal parts of the
    batch; with it, every microbatch has the texts of its own groups.

    Within a window texts are in another order than in `batches`, and none is lost.
    """

    def __init__(self, batches: Batches, layout: Tokens, groups: int = 1, accumulate: int = 1):
        spec = batches.spec()
        shapes = {prefix: spec[name][0] for prefix in prefixes(spec) if (name := prefixed(prefix, "tokens")) in spec}
        if not shapes:
            names = ", ".join(spec)
            raise XfmError(f"layout 'tokens' needs rows with 'tokens', but this data has {names}; set layout 'padded'")
        if batches.batch % groups:
            raise XfmError(
                f"a batch of {batches.batch} rows cannot be divided among {groups} groups; give a multiple of {groups}"
            )
        if layout.window < 1 or (layout.rows or 1) < 1:
            raise XfmError(
                f"layout 'tokens': window={layout.window} and rows={layout.rows} must both be 1 or more; correct them"
            )
        self.batches, self.batch, self.layout = batches, batches.batch, layout
        self.groups, self.accumulate = groups, accumulate
        self.source, self.seed = batches.source, batches.seed
        longest = max(shape[-1] for shape in shapes.values())
        if layout.length is not None and layout.length < longest:
            raise XfmError(
                f"layout 'tokens': rows of length={layout.length} cannot hold texts of up to {longest} tokens; "
                f"give {longest} or more"
            )
        self.tokens = {prefix: shape[-1] for prefix, shape in shapes.items()}
        self.lengths = {prefix: layout.length or tokens for prefix, tokens in self.tokens.items()}
        counts = np.cumsum([0, *(int(np.prod(shape[1:-1], dtype=int)) for shape in shapes.values())]).tolist()
        self._own = dict(zip(shapes, map(slice, counts[:-1], counts[1:]), strict=True))  # the texts of each prefix
        self._known = np.full((len(batches.source), counts[-1], 2), -1, np.int32)
        self._assignments: dict[int, Assignment] = {}

    def epoch(self, step: int) -> int:
        """The epoch, counted from 0, that the first row of `step` belongs to in the order of `batches`."""
        return self.batches.epoch(step)

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Row:
        """Rows start..stop of the batch of `step`, and the cells of the groups in that part of it.

        Raises ValueError if the range does not consist of whole groups.
        """
        stop = self.batch if stop is None else stop
        per, assigned, own = self.batch // self.groups, *self._of(step)
        if not 0 <= start <= stop <= self.batch or start % per or stop % per:
            raise ValueError(f"rows {start}..{stop} are not whole groups of {per} rows of a batch of {self.batch}")
        out = stacked([self.batches.at(position) for position in assigned.positions[own][start:stop].tolist()])
        groups = range(start // per, stop // per)
        return {**out, **{prefixed(name, "cells"): one.cells(own, groups) for name, one in assigned.texts.items()}}

    def spec(self, rows: int | None = None, step: int = 0) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch of `step`; `rows` rows of texts, by default the global batch."""
        assigned, _ = self._of(step)
        shapes = {name: (self.groups, one.rows, one.length) for name, one in assigned.texts.items()}
        cells = {prefixed(name, "cells"): (shape, np.dtype(np.int32)) for name, shape in shapes.items()}
        return {**self.batches.spec(rows), **cells}

    def _of(self, step: int) -> tuple["Assignment", int]:
        """The assignment of the window that contains `step`, and the index of `step` in that window."""
        number, own = divmod(step, self.layout.window)
        if number not in self._assignments:
            last = {n: one for n, one in self._assignments.items() if n == number - 1}
            self._assignments = last | {number: self._assigned(number)}
        return self._assignments[number], own

    def _assigned(self, number: int) -> "Assignment":
        W, G, B = self.layout.window, self.groups, self.batch
        first, per = number * W * B, B // G
        spans = np.stack([self._span(self.batches.index(position)) for position in range(first, first + W * B)])
        sizes = spans[..., 1] - spans[..., 0]  # [W·B texts]
        # Text k of group h · accumulate + i is row (h · per + k) · accumulate + i of its step.
        mine = np.arange(B).reshape(G // self.accumulate, per, self.accumulate).swapaxes(1, 2).reshape(G, per)
        if self.seed is None:
            of = mine[None] + B * np.arange(W)[:, None, None]
        else:
            of = deal(work(sizes, self.layout.width).sum(1), W * G).reshape(W, G, per)
        positions = np.empty((W, B), np.int64)
        positions[:, mine] = first + of
        return Assignment(positions, {name: self._laid(name, spans[:, own], of) for name, own in self._own.items()})

    def _laid(self, prefix: str, spans: Int[np.ndarray, "W*B texts 2"], of: Int[np.ndarray, "W G rows"]) -> "Laid":
        """The cells of the texts of one prefix.  of: the rows of each group, counted over the window."""
        W, G, per = of.shape
        sizes, length = spans[..., 1] - spans[..., 0], self.lengths[prefix]
        fits = [_laid(sizes[rows].ravel(), length) for rows in of.reshape(W * G, per)]
        starts = np.stack([start for start, _ in fits]).reshape(W, G, -1)
        rows = self._capacity(max(rows for _, rows in fits), length)
        return Laid(starts, spans[of].reshape(W, G, -1, 2), rows, length, self.tokens[prefix])

    def _capacity(self, needed: int, length: int) -> int:
        if self.layout.rows is None:
            return rounded(needed)
        if needed > self.layout.rows:
            raise XfmError(
                f"layout 'tokens': the texts of a step need {needed} rows of {length} tokens, but rows="
                f"{self.layout.rows}; raise it, or leave it out"
            )
        return self.layout.rows

    def _span(self, index: int) -> Int[np.ndarray, "texts 2"]:
        """The first and last + 1 token of each text in row `index` of the source; computed once."""
        if self._known[index, 0, 0] < 0:
            row = self.source[index]
            parts = (part_of(row, prefix) for prefix in self._own)
            found = [spans(part.get("segments", np.ones_like(part["tokens"]))) for part in parts]
            self._known[index] = np.concatenate(found)
        return self._known[index]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which rows and cells the texts of a window of W steps are assigned to.

    positions: the position in the endless sequence of each row of each step.  texts: prefix -> the cells of its texts.
    """

    positions: Int[np.ndarray, "W B"]
    texts: Mapping[str, "Laid"]


@dataclasses.dataclass(frozen=True)
class Laid:
    """The cells of the texts of one prefix in a window of W steps.

    starts: the cell where each text of a group begins.  spans: the first and last + 1 real token of each text.
    rows: R, rows of cells for each group.  length: L, cells of a row.  tokens: T of the source's rows.
    """

    starts: Int[np.ndarray, "W G texts"]
    spans: Int[np.ndarray, "W G texts 2"]
    rows: int
    length: int
    tokens: int

    def cells(self, step: int, groups: range) -> Int[np.ndarray, "g R L"]:
        """The cells of some groups of one step of the window (see Unpadded)."""
        texts, length = self.starts.shape[-1], self.length
        out = np.empty((len(groups), self.rows * length), np.int32)
        # Every empty cell has a number of its own, so that all indices are distinct.
        out[:] = texts * self.tokens + np.arange(self.rows * length)
        for cells, group in zip(out, groups, strict=True):
            begin, end = self.spans[step, group].T
            along = ramp(end - begin)
            from_ = np.repeat(np.arange(texts) * self.tokens + begin, end - begin) + along
            cells[np.repeat(self.starts[step, group], end - begin) + along] = from_
        return out.reshape(len(groups), self.rows, length)


def spans(segments: Int[np.ndarray, "*texts T"]) -> Int[np.ndarray, "n 2"]:
    """The first and the last + 1 real token of each text; (0, 0) for a row of padding alone.

    Padding between two real tokens is part of the span, so that distances between tokens stay the same.
    """
    real = segments.reshape(-1, segments.shape[-1]) > 0
    first, last = real.argmax(1), real.shape[1] - real[:, ::-1].argmax(1)
    some = real.any(1)
    return np.stack([np.where(some, first, 0), np.where(some, last, 0)], axis=1).astype(np.int32)


def rounded(rows: int) -> int:
    """The smallest sufficient number on a scale of 64 steps per power of two; at most 1.6 % of the rows are unused."""
    step = 1 << max(rows.bit_length() - 7, 0)
    return max(-(-rows // step) * step, 1)


def _laid(sizes: Int[np.ndarray, " n"], length: int) -> tuple[Int[np.ndarray, " n"], int]:
    """The cell in which each text begins, and the number of rows, by best-fit-decreasing packing (Johnson 1974).

    sizes: tokens of each text.  length: cells of a row.
    """
    order = np.argsort(-sizes, kind="stable")
    row, offset, _, rows = best_fit(sizes[order], length)
    starts = np.empty(len(sizes), np.int64)
    starts[order] = row * length + offset
    return starts, rows


LAYOUTS = {"padded": Padded, "tokens": Tokens}
