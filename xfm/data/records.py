"""A source over a dataset of records, whose fields are turned into arrays when a row is requested."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xfm.data.pixels import Pixels
from xfm.data.source import Row
from xfm.errors import XfmError
from xfm.files import first_line
from xfm.tokenizers import Tokenizer
from xfm.tokenizers.template import laid


@dataclasses.dataclass(frozen=True)
class Records:
    """The rows of one split of a dataset of records.

    rows: the dataset, a sequence of dicts.  where: its name in errors.  keep: the indices of the rows of this split.
    readers: batch name -> (feature, reader), where reader(value, where) returns an array, or a dict of arrays by name.
    augments: augmentations of `images`, applied in order.
    """

    rows: Any
    where: str
    keep: np.ndarray
    readers: Mapping[str, tuple[str, Any]]
    augments: Sequence[Any]

    @property
    def decodes(self) -> bool:
        """Whether its rows have images; see `xfm.data.source.Source`."""
        return "images" in self.readers

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Row:
        number = int(self.keep[index])
        record = row_of(self.rows, number, self.where)
        out: Row = {}
        for name, (feature, read) in self.readers.items():
            value = read(record[feature], f"row {number}, feature {feature!r}")
            out |= value if isinstance(value, dict) else {name: value}
        return out

    def augment(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with every augmentation applied to its image, in order."""
        for change in self.augments:
            row = {**row, "images": change(row["images"], rng)}
        return row


def row_of(rows: Any, number: int, where: str) -> Mapping[str, Any]:
    """The record rows[number] of the dataset `where`. Raises XfmError, naming both, if it cannot be read."""
    try:
        return rows[number]
    except Exception as error:  # decoders raise exceptions of any type on damaged files
        raise XfmError(f"row {number} of {where} cannot be read: {first_line(error)}") from error


def one_document(tokenizer: Tokenizer, text: str, length: int) -> Row:
    """`tokens`, `segments` and `positions` [T] of one text, truncated to `length` or padded at its end."""
    (one,) = tokenizer.joined([[text]], length)
    row = laid(one.ids, one.types, length, tokenizer.vocabulary.pad, 1)
    positions = np.arange(length, dtype=np.int32) * row["segments"]
    return {"tokens": row["tokens"], "segments": row["segments"], "positions": positions}


def picture(pixels: Pixels) -> Callable[[Any, str], np.ndarray]:
    """A reader for an image feature: it returns the array that `pixels` makes of it."""
    return lambda value, where: pixels.of_array(np.asarray(value), where)


def label(names: Sequence[str]) -> Callable[[Any, str], np.ndarray]:
    """A reader for the feature that is the label: the number of a class of `names`, or any number if `names` is empty.

    It raises XfmError for other numbers, such as -1 or NaN, which mean a missing label in test splits.
    """

    def read(value: Any, where: str) -> np.ndarray:
        array = number(value, where)
        if not np.all(np.isfinite(array)) or (names and not np.all((array >= 0) & (array < len(names)))):
            legal = f"a number from 0 to {len(names) - 1}" if names else "a finite number"
            raise XfmError(f"{where} has {array.tolist()}, where {legal} should be; choose a split that has labels")
        return array

    return read


def number(value: Any, where: str) -> np.ndarray:
    """The value as an int32 array for integers and bools, or float32 for floats.

    Raises XfmError for other values, and for integers outside the range of int32.
    """
    array = np.asarray(value)
    if array.dtype.kind in "iub":
        small = array.astype(np.int32)
        if not np.array_equal(small, array):
            raise XfmError(f"{where} has {array.tolist()!r:.60}, where numbers from -2^31 to 2^31 - 1 should be")
        return small
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise XfmError(f"{where} has {array.dtype}, not numbers; map text to 'tokens' and images to 'images'")
