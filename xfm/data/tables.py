"""Tables of records (column names with values), from TSV, CSV, JSON lines, Parquet or prepared TFDS folders."""

import csv
import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xfm.data import labels, parquet
from xfm.data.decoding import check_errors, decode, decode_file, parsed, whole
from xfm.data.records import row_of
from xfm.data.text import check_share
from xfm.data.tfds import Tfds
from xfm.errors import XfmError, nearest
from xfm.files import File, apart, fingerprint, listing, read_bytes, share
from xfm.locations import expanded
from xfm.spec import SpecError

SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")


class TableRecord(NamedTuple):
    """One record of a table.

    where: file and line, for errors.  values: by column.  errors: "strict" or "replace", for text that is not valid.
    """

    where: str
    values: Mapping[str, Any]
    errors: str = "strict"

    def __getitem__(self, column: str) -> Any:
        if column not in self.values:
            has = ", ".join(map(str, self.values))
            raise XfmError(f"{self.where} has no column {column!r}{nearest(column, self.values)}; it has {has}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The value of a column as text. Raises XfmError if it is something else."""
        return self._text(self[column], f"column {column!r}")

    def words(self, column: str) -> list[str]:
        """The value of a column as a list of texts. Raises XfmError if it is something else."""
        found = self.several(column)
        return [self._text(word, f"number {i} of column {column!r}") for i, word in enumerate(found)]

    def several(self, column: str) -> list[Any]:
        """The value of a column as a list. Raises XfmError if it is something else."""
        value = self[column]
        if not isinstance(value, list | tuple | np.ndarray):
            raise XfmError(f"{self.where} has {repr(value)[:40]} in column {column!r}, where a list should be")
        return list(value)

    def name(self, column: str, known: Collection[str] = ()) -> str:
        """The name of the class in a column; arguments and errors as in `labels.name_of`."""
        return labels.name_of(self[column], self.where, f"column {column!r}", known, self.errors)

    def _text(self, value: Any, column: str) -> str:
        if isinstance(value, bytes):
            return decode(value, self.errors, f"{self.where}, {column}")
        if not isinstance(value, str):
            raise XfmError(f"{self.where} has {repr(value)[:40]} in {column}, where text should be")
        return whole(value, self.errors, f"{self.where}, {column}")


class Skipped(NamedTuple):
    """A line that was skipped.  where: file and line."""

    where: str


@dataclasses.dataclass(frozen=True)
class Shape:
    """How the lines of a file are read as cells.

    columns: their names; if empty, the first line holds them.
    ragged: "refuse" raises an error for a line with fewer or more cells than there are columns; "skip" leaves such
    lines out, and the run's header counts them.
    errors: "strict" or "replace", for text that is not valid, in files of any type.
    """

    columns: Sequence[str] = ()
    ragged: str = "refuse"
    errors: str = "strict"

    def __post_init__(self):
        check_errors(self.errors)
        if self.ragged not in ("refuse", "skip"):
            raise SpecError(f"ragged={self.ragged!r} is not one of refuse, skip")
        if twice := [name for name in self.columns if list(self.columns).count(name) > 1]:
            raise SpecError(f"columns={tuple(self.columns)} names {twice[0]!r} twice; each column has one name")


@dataclasses.dataclass(frozen=True)
class Table:
    """The records of both splits.

    mark: fingerprint of their origin.  names: column -> names of classes, where a TFDS dataset declares them.
    notes: sentences for the run's header.
    """

    train: Sequence[TableRecord]
    valid: Sequence[TableRecord]
    mark: str
    names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_table(path: str, validation: float | str, shape: Shape = Shape(), suffixes=SUFFIXES, read=None) -> Table:
    """The records of a file, of all files in a folder, or of a folder that TFDS has prepared.

    validation: share of the records, chosen by a hash of file and record number, so that no record changes its split;
    or a path, absolute or relative to the folder of `path`; or a split of a TFDS dataset.
    suffixes: types of files to read.  read: (file, shape) -> its records and skipped lines; by default `read_file`.
    """
    root = expanded(path)
    if (root / "dataset_info.json").is_file():
        return _prepared(root, validation, shape)
    read = read or read_file
    if isinstance(validation, str):
        base = root if root.is_dir() else root.parent
        held = base / expanded(validation)  # an absolute path stays as it is
        valid = listing(held, suffixes)
        train = apart(listing(root, suffixes), valid)
    else:
        check_share(validation)
        train, valid = listing(root, suffixes), []
    mark = fingerprint([(file.name, file.size) for file in (*train, *valid)], len(valid), dataclasses.astuple(shape))
    skipped: list[Skipped] = []

    def records(file: File) -> Iterator[TableRecord]:
        for one in read(file, shape):
            if isinstance(one, Skipped):
                skipped.append(one)
            else:
                yield one

    found = [(file, number, record) for file in train for number, record in enumerate(records(file))]
    if valid:
        rest = [r for file in valid for r in records(file)]
        return Table([r for *_, r in found], rest, mark, notes=_left_out(skipped))
    held = [share(f"{file.name}:{number}") < validation for file, number, _ in found]
    return Table(
        [r for (*_, r), out in zip(found, held, strict=True) if not out],
        [r for (*_, r), out in zip(found, held, strict=True) if out],
        fingerprint(mark, validation),
        notes=_left_out(skipped),
    )


def _left_out(skipped: Sequence[Skipped]) -> tuple[str, ...]:
    if not skipped:
        return ()
    return (f"lines left out because of their number of cells: {len(skipped)}, the first one {skipped[0].where}",)


def divided(records: Sequence[tuple[str, Mapping[str, Any]]], validation: float | str, origin: str) -> Table:
    """A table of generated records, given as (name, values) and split by a hash of their names.

    Records with the same name go to the same split.  validation: the share of names to hold out.
    """
    check_share(validation)
    sides = {True: [], False: []}
    for name, values in records:
        sides[share(name) < validation].append(TableRecord(name, values))
    mark = fingerprint([(name, values) for name, values in records], validation)
    return Table(sides[False], sides[True], mark)


def read_file(file: File, shape: Shape) -> Iterator[TableRecord | Skipped]:
    """The records of one file of any type in SUFFIXES, and the lines that were skipped."""
    suffix = file.path.suffix.lower()
    if suffix == ".jsonl":
        yield from json_lines(file, shape)
    elif suffix == ".parquet":
        for number, values in enumerate(parquet.rows(file.path)):
            yield TableRecord(f"{file.path}, row {number}", values, shape.errors)
    else:
        yield from _cells(file, shape, _tabs if suffix == ".tsv" else _commas)


def json_lines(file: File, shape: Shape) -> Iterator[TableRecord]:
    """The records of a file with one JSON object per line; empty lines are ignored."""
    for number, line in enumerate(text_of(file, shape).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file.path}:{number}"
        values = parsed(line, where)
        if not isinstance(values, dict):
            raise XfmError(f"{where} is {repr(values)[:40]}, where a JSON object with a key per column should be")
        yield TableRecord(where, values, shape.errors)


def _cells(file: File, shape: Shape, split) -> Iterator[TableRecord | Skipped]:
    lines = split(text_of(file, shape), file)
    columns = list(shape.columns)
    if not columns:
        columns = next(lines, (1, []))[1]
    if twice := {c for c in columns if columns.count(c) > 1}:
        raise XfmError(f"{file.path} names column {sorted(twice)[0]!r} twice in its first line")
    for number, cells in lines:
        where = f"{file.path}:{number}"
        if len(cells) == len(columns):
            yield TableRecord(where, dict(zip(columns, cells, strict=True)), shape.errors)
        elif shape.ragged == "skip":
            yield Skipped(where)
        else:
            raise XfmError(f"{where} has {len(cells)} cells where {len(columns)} columns are named; {ADVICE[split]}")


def _tabs(text: str, file: File) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of tab-separated lines; quotation marks have no special meaning (as in GLUE)."""
    for number, line in enumerate(text.split("\n"), 1):
        if line:
            yield number, line.split("\t")


def _commas(text: str, file: File) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of comma-separated lines; cells with commas or line ends are quoted (RFC 4180)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        most = csv.field_size_limit(len(text) + 1)  # a setting of the whole process, restored below
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise XfmError(f"{file.path}:{number} is not CSV ({error}); quote its cells, or use JSON lines") from error
        finally:
            csv.field_size_limit(most)
        if cells:
            yield number, cells


ADVICE = {
    _tabs: "a cell of a .tsv cannot contain a tab: correct the line, or set ragged='skip' to leave such lines out",
    _commas: "a cell with commas must be quoted: correct the line, or set ragged='skip' to leave such lines out",
}


def _prepared(root: Path, validation: float | str, shape: Shape) -> Table:
    features, splits = Tfds(fields={}, directory=str(root), validation=validation).records()
    names = {name: tuple(f.names) for name, f in features.items() if getattr(f, "names", None)}

    def records(side):
        rows, keep = splits[side]
        for i in keep.tolist():
            values = {name: _named(value, names.get(name)) for name, value in row_of(rows, i, str(root)).items()}
            yield TableRecord(f"row {i} of {root}", values, shape.errors)

    sides = {side: list(records(side)) for side in ("train", "valid")}
    sizes = {side: len(rows) for side, rows in sides.items()}
    return Table(sides["train"], sides["valid"], fingerprint(root.name, sizes, validation, shape.errors), names)


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """The name of class number `value`, or "" for -1 (as in test splits); `value` itself if there are no `names`.

    If `value` is a sequence of numbers, such as the tags of a sentence, a list with the name of each.
    """
    if names is None:
        return value
    if np.ndim(value):
        return [_named(one, names) for one in value]
    return names[int(value)] if int(value) >= 0 else ""


def text_of(file: File, shape: Shape) -> str:
    """The text of a whole file, decoded as `shape` says."""
    return decode_file(read_bytes(file.path), shape.errors, file.path)


def require_rows(table: Table, origin: str) -> None:
    """Checks that both splits have records. Raises SpecError, naming `origin`, if one has none."""
    for side, records in (("train", table.train), ("valid", table.valid)):
        if not records:
            raise SpecError(
                f"the {side} split of {origin} is empty; change 'validation', a share of the records or a file of them"
            )
