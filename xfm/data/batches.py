"""Training batches addressed by (step, row), so that the step number is the whole state of the data.

Row `r` of step `s` has the position `s · batch + r` in an endless sequence of epochs, each of which is a permutation
of the source by Grain's index shuffle (a Feistel network, seeded by seed and epoch). Each host reads its own rows of
the global batch, and a run that resumes on another number of hosts sees the same rows at the same positions.
"""

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from xfm.data.source import Row, Source
from xfm.errors import XfmError
from xfm.files import optional

MOST = 32  # threads that read rows


class Batches:
    """An endless sequence of batches of `batch` rows. With `seed=None` rows keep the order of the source and are not
    augmented.

    repeats: how many rows one after another are of the same row of the source; each is augmented on its own.
    """

    def __init__(self, source: Source, batch: int, seed: int | None, repeats: int = 1):
        if len(source) == 0:
            raise XfmError("the data source of the batches has no rows; give it more data")
        if batch < 1:
            raise XfmError(f"batch={batch} is not a valid number of rows; give 1 or more")
        self.source, self.batch, self.seed, self.repeats = source, batch, seed, repeats
        self._augment = getattr(source, "augment", None) if seed is not None else None

    @property
    def steps_per_epoch(self) -> float:
        """The number of steps in which every row is seen once, repeats included; a fraction if `batch` does not divide
        them.
        """
        return len(self.source) * self.repeats / self.batch

    def epoch(self, step: int) -> int:
        """The epoch, counted from 0, that the first row of `step` belongs to."""
        return step * self.batch // (len(self.source) * self.repeats)

    def indices(self, step: int, start: int = 0, stop: int | None = None) -> list[int]:
        """The indices in the source of rows start..stop of the global batch of `step`."""
        return [self.index(position) for position in self._positions(step, start, stop)]

    def index(self, position: int) -> int:
        """The index in the source of the row at `position` of the endless sequence."""
        return self._order[position // self.repeats]

    def at(self, position: int) -> Row:
        """The row at `position` of the endless sequence.

        Augmentation draws from a generator seeded by (seed, position): it differs between epochs, and is the same
        after a resume and on every host.
        """
        row = self.source[self.index(position)]
        return row if self._augment is None else self._augment(row, np.random.default_rng((self.seed, position)))

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Row:
        """Rows start..stop of the global batch of `step`, stacked: each array [stop - start, ...]."""
        positions = self._positions(step, start, stop)
        rows = list(map(self.at, positions) if self._threads is None else self._threads.map(self.at, positions))
        if not rows:
            return {name: np.empty(shape, dtype) for name, (shape, dtype) in self.spec(0).items()}
        return stacked(rows)

    def spec(self, rows: int | None = None, step: int = 0) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch of `rows` rows (by default a global batch), the same in any step."""
        rows = self.batch if rows is None else rows
        return {name: ((rows, *shape), dtype) for name, (shape, dtype) in self._row.items()}

    def _positions(self, step: int, start: int, stop: int | None) -> range:
        stop = self.batch if stop is None else stop
        if step < 0 or not 0 <= start <= stop <= self.batch:
            raise ValueError(f"rows {start}..{stop} of step {step} are outside a batch of {self.batch}")
        return range(step * self.batch + start, step * self.batch + stop)

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor | None:
        """Threads that read rows, one for each core; None for a source whose rows take no time to read.

        Pillow decodes and scales without Python's lock, so threads keep all cores busy, and rows need not be copied
        from one process to another.
        """
        if not getattr(self.source, "decodes", False) or cores() < 2:
            return None
        return ThreadPoolExecutor(min(cores(), self.batch, MOST), thread_name_prefix="rows")

    @functools.cached_property
    def _row(self):
        return {name: (np.shape(a), np.asarray(a).dtype) for name, a in self.source[0].items()}

    @functools.cached_property
    def _order(self):
        dataset = optional("grain", "data").MapDataset.range(len(self.source))
        if self.seed is not None:
            dataset = dataset.seed(self.seed).shuffle()
        return dataset.repeat()


def stacked(rows: Sequence[Row]) -> Row:
    """The arrays of `rows`, stacked along a new first axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def cores() -> int:
    """The number of cores that this process may use."""
    known = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(known(0)) if known else os.cpu_count() or 1
