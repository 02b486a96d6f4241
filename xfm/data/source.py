"""What data is: two sources of rows, and what was used to make them.

A row is a dict of arrays without a batch axis, with the fixed names of a batch (`tokens`,
`segments`, `positions`, `images`, `labels`); all rows of a source have the same names, shapes and
dtypes, and row `i` is always the same row.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from xfm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from xfm.tokenizers import Tokenizer

Row = dict[str, np.ndarray]


class Source(Protocol):
    """Rows by number. One with a method `augment(row, rng) -> row` has it applied by Batches, anew
    in every epoch.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...


@dataclasses.dataclass(frozen=True)
class Arrays:
    """The rows of arrays that share their first axis."""

    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> Row:
        return {name: array[index] for name, array in self.arrays.items()}


@dataclasses.dataclass(frozen=True)
class Data:
    """train, valid: the sources.  tokenizer, vocabulary: of text, else None.  classes: names of the
    labels, if known.

    fingerprint: changes with the names and sizes of the files and with the spec, so that a run that
    resumes can tell.
    facts: counts for people to read, such as the number of tokens and the share of padding.
    notes: sentences that the header of a run says, such as what was left out of the data.
    """

    train: Source
    valid: Source
    tokenizer: "Tokenizer | None"
    vocabulary: Vocabulary | None
    fingerprint: str
    classes: tuple[str, ...] = ()
    facts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
