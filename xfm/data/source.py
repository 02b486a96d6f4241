"""The interface of data: two sources of rows, and facts about how they were made.

A row is a dict of arrays without a batch axis, under the fixed names of a batch (`tokens`, `segments`, `positions`,
`images`, `labels`). All rows of a source have the same names, shapes and dtypes, and row `i` is always the same.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xfm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from xfm.tokenizers import Tokenizer

Row = dict[str, np.ndarray]


class Source(Protocol):
    """A sequence of rows. If it has a method `augment(row, rng) -> row`, Batches applies it to every training row, with
    other random numbers in every epoch. If it has an attribute `decodes` that is true, its rows take long to read, and
    several threads read them at once. `unreadable` maps the names of rows that were passed over to the reasons. A
    source that passes rows over has a method `numbered(index) -> (number, row)`: the number of the row that was read in
    place of row `index`, and the row. If training rows are read in another way than rows of validation, `plain()` is a
    source of the same rows that are read like these.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...


@dataclasses.dataclass(frozen=True)
class Arrays:
    """A source whose row i consists of entry i of each array."""

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> Row:
        return {name: array[index] for name, array in self.arrays.items()}


@dataclasses.dataclass(frozen=True)
class Data:
    """Opened data: the sources of both splits, and facts about them.

    train, valid: the sources.  tokenizer, vocabulary: those of text data, else None.
    fingerprint: changes with the names and sizes of the files and with the spec, so that a resumed run can detect that
    its data has changed.
    classes: names of the labels in the order of their numbers, if known.
    facts: figures for people to read, such as the number of tokens and the share of padding.
    notes: sentences for the header of a run, such as what was left out of the data.
    seen: training rows over which the validation loss is computed, where rows that are held out have none.
    """

    train: Source
    valid: Source
    tokenizer: "Tokenizer | None"
    vocabulary: Vocabulary | None
    fingerprint: str
    classes: tuple[str, ...] = ()
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seen: Source | None = None


def validated(data: Any) -> Source:
    """The rows over which the validation loss of opened data is computed: `seen` if it has any, else `valid`."""
    seen = getattr(data, "seen", None)
    return data.valid if seen is None else seen
