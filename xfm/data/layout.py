"""How the texts of a batch lie in the rows that a network computes.

A source's rows hold one text each and padding behind it. Layout "padded" leaves them so. Layout "tokens" computes real
tokens only: embedding, norms, maps, feed-forward parts and attention see rows in which texts follow each other, kept
apart by segments; what pools and heads read is laid back to a row per text. Zhai et al., "ByteTransformer" (2023);
Warner et al., "Smarter, Better, Faster, Longer" (ModernBERT, 2024), section 2.1.2, on unpadding.

Texts never cross rows, so attention costs what rows of that length cost, whatever implementation computes it.
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
    """Rows as the source has them."""

    def over(self, batches: Batches, ways: int = 1, accumulate: int = 1) -> Batches:
        return batches


@dataclasses.dataclass(frozen=True)
class Tokens:
    """length: tokens of a row in which texts follow each other, at least T; the source's T if None.

    rows: such rows for each device, an error where texts do not fit; as many as they need, or a few more, if None.
    Programs are compiled anew for each number of rows; None takes one number for all steps of a window, of few.
    window: steps among which texts are dealt, so that each step and each device has about equal work (see balance.py);
    an evaluation keeps its order.
    width: D of the model, where the square of a text's length shall count as work; its tokens alone do if None.
    """

    length: Count | None = None
    rows: Count | None = None
    window: Count = 16
    width: Count | None = None

    def over(self, batches: Batches, ways: int = 1, accumulate: int = 1) -> "Unpadded":
        """ways: devices that the rows of a batch are divided among.  accumulate: microbatches of a step."""
        return Unpadded(batches, self, ways * accumulate, accumulate)


class Unpadded:
    """Batches with one more array, `cells` [G R L]: of each of G groups of texts its R rows of L tokens. Each further
    text of a row, with a prefix, has cells of its own, `positive/cells`.

    A cell holds the place of its token among the group's tokens, which are those of its texts one after the other
    (text · T + token); a number beyond them where no token lies. Group g's texts are, where steps do not accumulate,
    the g-th of G equal parts of the batch; each microbatch of a step that does takes its own groups' texts.

    The order of the texts within a window, and so of the rows, differs from that of `batches`; no text is lost.
    """

    def __init__(self, batches: Batches, layout: Tokens, groups: int = 1, accumulate: int = 1):
        spec = batches.spec()
        shapes = {prefix: spec[name][0] for prefix in prefixes(spec) if (name := prefixed(prefix, "tokens")) in spec}
        if not shapes:
            names = ", ".join(spec)
            raise XfmError(f"layout 'tokens' lays out rows of tokens, and this data has {names}; set layout 'padded'")
        if batches.batch % groups:
            raise XfmError(f"a batch of {batches.batch} rows does not divide among {groups} groups of rows")
        if layout.window < 1 or (layout.rows or 1) < 1:
            raise XfmError(f"layout 'tokens': window and rows are 1 or more, not {layout.window} and {layout.rows}")
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
        self._own = dict(zip(shapes, map(slice, counts[:-1], counts[1:]), strict=True))  # texts of each prefix
        self._known = np.full((len(batches.source), counts[-1], 2), -1, np.int32)
        self._plans: dict[int, Plan] = {}

    def epoch(self, step: int) -> int:
        return self.batches.epoch(step)

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Row:
        """Rows start..stop of the batch of `step`, and the cells of the groups in the same part of it."""
        stop = self.batch if stop is None else stop
        per, plan, own = self.batch // self.groups, *self._of(step)
        if not 0 <= start <= stop <= self.batch or start % per or stop % per:
            raise ValueError(f"rows {start}..{stop} are not whole groups of {per} rows of a batch of {self.batch}")
        out = stacked([self.batches.at(place) for place in plan.places[own][start:stop].tolist()])
        groups = range(start // per, stop // per)
        return {**out, **{prefixed(name, "cells"): one.cells(own, groups) for name, one in plan.texts.items()}}

    def spec(self, rows: int | None = None, step: int = 0) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch of `step`."""
        plan, _ = self._of(step)
        shapes = {name: (self.groups, one.rows, one.length) for name, one in plan.texts.items()}
        cells = {prefixed(name, "cells"): (shape, np.dtype(np.int32)) for name, shape in shapes.items()}
        return {**self.batches.spec(rows), **cells}

    def _of(self, step: int) -> tuple["Plan", int]:
        """The plan of the window that a step lies in, and which of its steps it is."""
        number, own = divmod(step, self.layout.window)
        if number not in self._plans:
            self._plans = {n: plan for n, plan in self._plans.items() if n == number - 1} | {number: self._plan(number)}
        return self._plans[number], own

    def _plan(self, number: int) -> "Plan":
        W, G, B = self.layout.window, self.groups, self.batch
        first, per = number * W * B, B // G
        spans = np.stack([self._span(self.batches.index(place)) for place in range(first, first + W * B)])
        sizes = spans[..., 1] - spans[..., 0]  # [W·B texts]
        # The row of a step that is text k of group h · accumulate + i is (h · per + k) · accumulate + i.
        mine = np.arange(B).reshape(G // self.accumulate, per, self.accumulate).swapaxes(1, 2).reshape(G, per)
        if self.seed is None:
            of = mine[None] + B * np.arange(W)[:, None, None]
        else:
            of = deal(work(sizes, self.layout.width).sum(1), W * G).reshape(W, G, per)
        places = np.empty((W, B), np.int64)
        places[:, mine] = first + of
        return Plan(places, {prefix: self._laid(prefix, spans[:, own], of) for prefix, own in self._own.items()})

    def _laid(self, prefix: str, spans: Int[np.ndarray, "W*B texts 2"], of: Int[np.ndarray, "W G rows"]) -> "Laid":
        """Where the texts of a prefix lie.  of: the rows of each group."""
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
                f"layout 'tokens': the texts of a step need {needed} rows of {length} tokens and rows="
                f"{self.layout.rows}; raise it, or leave it out"
            )
        return self.layout.rows

    def _span(self, index: int) -> Int[np.ndarray, "texts 2"]:
        """Of each text of a row of the source where it begins and ends; looked up once."""
        if self._known[index, 0, 0] < 0:
            row = self.source[index]
            parts = (part_of(row, prefix) for prefix in self._own)
            found = [spans(part.get("segments", np.ones_like(part["tokens"]))) for part in parts]
            self._known[index] = np.concatenate(found)
        return self._known[index]


@dataclasses.dataclass(frozen=True)
class Plan:
    """places: of each row of W steps its number in the endless sequence.  texts: by prefix, where they lie."""

    places: Int[np.ndarray, "W B"]
    texts: Mapping[str, "Laid"]


@dataclasses.dataclass(frozen=True)
class Laid:
    """rows: R of each group, of `length` cells.  tokens: T.

    starts: of each text of a group the cell where it begins.  spans: the tokens of it that are there.
    """

    starts: Int[np.ndarray, "W G texts"]
    spans: Int[np.ndarray, "W G texts 2"]
    rows: int
    length: int
    tokens: int

    def cells(self, step: int, groups: range) -> Int[np.ndarray, "g R L"]:
        texts, length = self.starts.shape[-1], self.length
        out = np.empty((len(groups), self.rows * length), np.int32)
        # Each empty cell has a number of its own, so that no two are the same.
        out[:] = texts * self.tokens + np.arange(self.rows * length)
        for cells, group in zip(out, groups, strict=True):
            begin, end = self.spans[step, group].T
            along = ramp(end - begin)
            from_ = np.repeat(np.arange(texts) * self.tokens + begin, end - begin) + along
            cells[np.repeat(self.starts[step, group], end - begin) + along] = from_
        return out.reshape(len(groups), self.rows, length)


def spans(segments: Int[np.ndarray, "*texts T"]) -> Int[np.ndarray, "n 2"]:
    """The first real token of each text and the one behind its last; padding in between stays, to keep distances."""
    real = segments.reshape(-1, segments.shape[-1]) > 0
    first, last = real.argmax(1), real.shape[1] - real[:, ::-1].argmax(1)
    some = real.any(1)
    return np.stack([np.where(some, first, 0), np.where(some, last, 0)], axis=1).astype(np.int32)


def rounded(rows: int) -> int:
    """The next number of rows of which there are 64 from one power of two to the next: at most 1.6 % are in vain."""
    step = 1 << max(rows.bit_length() - 7, 0)
    return max(-(-rows // step) * step, 1)


def _laid(sizes: Int[np.ndarray, "n"], length: int) -> tuple[Int[np.ndarray, "n"], int]:
    """In which cell each text begins, and how many rows there are: best fit decreasing (Johnson 1974)."""
    order = np.argsort(-sizes, kind="stable")
    row, offset, _, rows = best_fit(sizes[order], length)
    starts = np.empty(len(sizes), np.int64)
    starts[order] = row * length + offset
    return starts, rows


LAYOUTS = {"padded": Padded, "tokens": Tokens}
