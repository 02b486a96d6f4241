"""Training batches addressed by (step, row), so that the state of the data is the step and nothing
else.

Row `r` of step `s` is number `s · batch + r` in an endless sequence of epochs, each a permutation
of the source by Grain's index shuffle (Feistel, seeded by seed and epoch). Hosts read their own
rows of the same global batch, and a run resumed on another number of hosts sees the same rows in
the same places.
"""

import functools
from collections.abc import Sequence

import numpy as np

from xfm.data.source import Row, Source
from xfm.errors import XfmError
from xfm.files import optional


class Batches:
    """Batches of `batch` rows without end; `seed=None` keeps the order of the source and augments
    nothing.
    """

    def __init__(self, source: Source, batch: int, seed: int | None):
        if len(source) == 0:
            raise XfmError("the source of the batches holds no rows; give it more data")
        if batch < 1:
            raise XfmError(f"batch={batch} is not a number of rows; give 1 or more")
        self.source, self.batch, self.seed = source, batch, seed
        self._augment = getattr(source, "augment", None) if seed is not None else None

    @property
    def steps_per_epoch(self) -> float:
        """Steps that see every row once; not a whole number where the batch does not divide the
        source.
        """
        return len(self.source) / self.batch

    def epoch(self, step: int) -> int:
        """The epoch, from 0, in which the first row of `step` lies."""
        return step * self.batch // len(self.source)

    def indices(self, step: int, start: int = 0, stop: int | None = None) -> list[int]:
        """Numbers in the source of rows start..stop of the global batch of `step`."""
        return [self.index(place) for place in self._places(step, start, stop)]

    def index(self, place: int) -> int:
        """The number in the source of the row at that place of the endless sequence."""
        return self._order[place]

    def at(self, place: int) -> Row:
        """The row at that place of the endless sequence.

        Augmentation draws from a generator seeded by (seed, place): new in every epoch, the same after a resume and
        on any host.
        """
        row = self.source[self.index(place)]
        return row if self._augment is None else self._augment(row, np.random.default_rng((self.seed, place)))

    def rows(self, step: int, start: int = 0, stop: int | None = None) -> Row:
        """Rows start..stop of the global batch of `step`, stacked: each array [stop - start, ...]."""
        rows = [self.at(place) for place in self._places(step, start, stop)]
        if not rows:
            return {name: np.empty(shape, dtype) for name, (shape, dtype) in self.spec(0).items()}
        return stacked(rows)

    def spec(self, rows: int | None = None, step: int = 0) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of each array of a batch of `rows` rows, by default the global batch; of any step."""
        rows = self.batch if rows is None else rows
        return {name: ((rows, *shape), dtype) for name, (shape, dtype) in self._row.items()}

    def _places(self, step: int, start: int, stop: int | None) -> range:
        stop = self.batch if stop is None else stop
        if step < 0 or not 0 <= start <= stop <= self.batch:
            raise ValueError(f"rows {start}..{stop} of step {step} are outside a batch of {self.batch}")
        return range(step * self.batch + start, step * self.batch + stop)

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
    """The rows' arrays, each with a first axis over rows."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
