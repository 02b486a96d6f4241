"""Records, which map column names to values, from files: TSV, CSV, JSON lines, Parquet, prepared TFDS folders."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xfm.data.files import File, apart, fingerprint, first_line, listing, optional, read_bytes, share
from xfm.data.paths import expanded
from xfm.data.text import check_share, decode
from xfm.data.tfds import Tfds
from xfm.errors import XfmError, nearest
from xfm.spec import SpecError

SUFFIXES = (".tsv", ".csv", ".jsonl", ".parquet")


class Record(NamedTuple):
    """where: file and line, for errors.  values: by column."""

    where: str
    values: Mapping[str, Any]

    def __getitem__(self, column: str) -> Any:
        if column not in self.values:
            has = ", ".join(map(str, self.values))
            raise XfmError(f"{self.where} has no column {column!r}{nearest(column, self.values)}; it has {has}")
        return self.values[column]

    def text(self, column: str) -> str:
        """The column's value, which must be text. XfmError where it is not."""
        value = self[column]
        if isinstance(value, bytes):
            return decode(value, "strict", f"{self.where}, column {column!r}")
        if not isinstance(value, str):
            raise XfmError(f"{self.where} has {repr(value)[:40]} in column {column!r}, where text should be")
        return value


@dataclasses.dataclass(frozen=True)
class Shape:
    """How a file of lines is cut into cells.

    columns: their names where the first line does not hold them.
    ragged: "refuse" or "skip" lines with fewer cells than there are columns.
    """

    columns: Sequence[str] = ()
    ragged: str = "refuse"


@dataclasses.dataclass(frozen=True)
class Table:
    """Records of both splits.  mark: fingerprint of where they came from.  names: of a label's classes, by column."""

    train: Sequence[Record]
    valid: Sequence[Record]
    mark: str
    names: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def open_table(path: str, validation: float | str, shape: Shape = Shape(), suffixes=SUFFIXES, read=None) -> Table:
    """The records of a file, of all files in a folder, or of a folder that TFDS has prepared.

    validation: share of the records, by a hash of file and line so that none changes sides; or a path, absolute or
    in the folder of `path`, or for TFDS a split.  read: (file, shape) -> records, of the suffix by default.
    """
    root = expanded(path)
    if (root / "dataset_info.json").is_file():
        return _prepared(root, validation)
    read = read or read_file
    if isinstance(validation, str):
        base = root if root.is_dir() else root.parent
        held = base / expanded(validation)  # an absolute path stays as it is
        valid = listing(held, suffixes)
        train = apart(listing(root, suffixes), valid)
    else:
        check_share(validation)
        train, valid = listing(root, suffixes), []
    mark = fingerprint([(file.name, file.size) for file in (*train, *valid)], len(valid))
    records = [(file, number, record) for file in train for number, record in enumerate(read(file, shape))]
    if valid:
        return Table([r for *_, r in records], [r for file in valid for r in read(file, shape)], mark)
    held = [share(f"{file.name}:{number}") < validation for file, number, _ in records]
    return Table(
        [r for (*_, r), out in zip(records, held, strict=True) if not out],
        [r for (*_, r), out in zip(records, held, strict=True) if out],
        fingerprint(mark, validation),
    )


def divided(records: Sequence[tuple[str, Mapping[str, Any]]], validation: float | str, origin: str) -> Table:
    """Records that were made, as (name, values): split by a hash of their names, which may repeat."""
    check_share(validation)
    sides = {True: [], False: []}
    for name, values in records:
        sides[share(name) < validation].append(Record(name, values))
    mark = fingerprint([(name, values) for name, values in records], validation)
    return Table(sides[False], sides[True], mark)


def read_file(file: File, shape: Shape) -> Iterator[Record]:
    """The records of one file, by its suffix."""
    suffix = file.path.suffix.lower()
    if suffix == ".jsonl":
        yield from json_lines(file)
    elif suffix == ".parquet":
        yield from _parquet(file)
    else:
        yield from _cells(file, shape, _tabs if suffix == ".tsv" else _commas)


def json_lines(file: File) -> Iterator[Record]:
    """One JSON object per line."""
    for number, line in enumerate(_text(file).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{file.path}:{number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            raise XfmError(f"{where} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise XfmError(f"{where} is {repr(values)[:40]}, not a JSON object with columns by name")
        yield Record(where, values)


def _cells(file: File, shape: Shape, split) -> Iterator[Record]:
    lines = split(_text(file), file)
    columns = list(shape.columns)
    if not columns:
        columns = next(lines, (1, []))[1]
    if twice := {c for c in columns if columns.count(c) > 1}:
        raise XfmError(f"{file.path} names column {sorted(twice)[0]!r} twice in its first line")
    for number, cells in lines:
        where = f"{file.path}:{number}"
        if len(cells) < len(columns):
            if shape.ragged == "skip":
                continue
            raise XfmError(f"{where} has {len(cells)} cells where {len(columns)} columns are named")
        yield Record(where, dict(zip(columns, cells, strict=False)))


def _tabs(text: str, file: File) -> Iterator[tuple[int, list[str]]]:
    """Cells between tabs; a quotation mark is a character like any other (as in GLUE)."""
    for number, line in enumerate(text.split("\n"), 1):
        if line:
            yield number, line.split("\t")


def _commas(text: str, file: File) -> Iterator[tuple[int, list[str]]]:
    """Cells between commas, quoted where they hold commas or line ends (RFC 4180)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise XfmError(f"{file.path}:{number} is not CSV ({error}); quote its cells, or use JSON lines") from error
        if cells:
            yield number, cells


def _parquet(file: File) -> Iterator[Record]:
    parquet = optional("pyarrow.parquet", "data")
    try:
        batches = parquet.ParquetFile(file.path).iter_batches()
        number = 0
        for batch in batches:
            for values in batch.to_pylist():
                yield Record(f"{file.path}, row {number}", values)
                number += 1
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise XfmError(f"{file.path} is not a readable parquet file: {first_line(error)}") from error


def _prepared(root: Path, validation: float | str) -> Table:
    features, splits = Tfds(fields={}, directory=str(root), validation=validation).records()
    names = {name: tuple(f.names) for name, f in features.items() if getattr(f, "names", None)}

    def records(side):
        rows, keep = splits[side]
        for i in keep.tolist():
            yield Record(
                f"row {i} of {root}", {name: _named(value, names.get(name)) for name, value in rows[i].items()}
            )

    sides = {side: list(records(side)) for side in ("train", "valid")}
    sizes = {side: len(rows) for side, rows in sides.items()}
    return Table(sides["train"], sides["valid"], fingerprint(root.name, sizes, validation), names)


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """A class by its name; what is no class, or has none (-1 in a test split), as it is."""
    if names is None:
        return value
    return names[int(value)] if int(value) >= 0 else ""


def _text(file: File) -> str:
    return decode(read_bytes(file.path), "strict", file.path)


def require_rows(table: Table, origin: str) -> None:
    """Raises SpecError where a split holds nothing."""
    for side, records in (("train", table.train), ("valid", table.valid)):
        if not records:
            raise SpecError(
                f"the {side} split of {origin} is empty; change 'validation', a share of the records or a file of them"
            )
