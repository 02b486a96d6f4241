"""Rows of a dataset of records, each field made an array when its row is asked for."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xfm.data.pixels import Pixels
from xfm.data.source import Row
from xfm.errors import XfmError
from xfm.tokenizers import Tokenizer
from xfm.tokenizers.template import laid


@dataclasses.dataclass(frozen=True)
class Records:
    """rows: the dataset.  where: its name in errors.  keep: which of its rows are rows of this
    source.

    readers: batch name -> (feature, reader), reader(value, where) being an array or a dict of them.
    """

    rows: Any
    where: str
    keep: np.ndarray
    readers: Mapping[str, tuple[str, Any]]
    augments: Sequence[Any]

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, index: int) -> Row:
        number = int(self.keep[index])
        try:
            record = self.rows[number]
        except Exception as error:  # of a damaged file, whatever its decoder raises
            raise XfmError(f"row {number} of {self.where} cannot be read: {error}") from error
        out: Row = {}
        for name, (feature, read) in self.readers.items():
            value = read(record[feature], f"row {number}, feature {feature!r}")
            out |= value if isinstance(value, dict) else {name: value}
        return out

    def augment(self, row: Row, rng: np.random.Generator) -> Row:
        for change in self.augments:
            row = {**row, "images": change(row["images"], rng)}
        return row


def one_document(tokenizer: Tokenizer, text: str, length: int) -> Row:
    """tokens, segments, positions [T] of one text, cut at `length`, padding after it."""
    (one,) = tokenizer.joined([[text]], length)
    row = laid(one.ids, one.types, length, tokenizer.vocabulary.pad, 1)
    return {"tokens": row["tokens"], "segments": row["segments"], "positions": np.arange(length) * row["segments"]}


def picture(pixels: Pixels) -> Callable[[Any, str], np.ndarray]:
    """The reader of an image feature."""
    return lambda value, where: pixels.of_array(np.asarray(value), where)


def label(names: Sequence[str]) -> Callable[[Any, str], np.ndarray]:
    """The reader of a feature that is the label: a number of one of the classes `names`, or without them any number.

    It raises XfmError for what stands for no label: -1, as in test splits, or NaN.
    """

    def read(value: Any, where: str) -> np.ndarray:
        array = number(value, where)
        if not np.all(np.isfinite(array)) or (names and not np.all((array >= 0) & (array < len(names)))):
            legal = f"a number from 0 to {len(names) - 1}" if names else "a finite number"
            raise XfmError(f"{where} has {array.tolist()}, where {legal} should be; choose a split that has labels")
        return array

    return read


def number(value: Any, where: str) -> np.ndarray:
    """Integers as int32, other numbers as float32. Raises XfmError for what is neither."""
    array = np.asarray(value)
    if array.dtype.kind in "iub":
        return array.astype(np.int32)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise XfmError(f"{where} is not numbers but {array.dtype}; map text to 'tokens' and images to 'images'")
