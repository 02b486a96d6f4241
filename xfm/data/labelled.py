"""Texts, or pairs of texts, each with a class or a number to predict."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.data import stdlib
from xfm.data.corpus import check_length
from xfm.data.glue import LAYOUTS, Layout
from xfm.data.labels import asked, in_order, number_in, number_of, without_rows
from xfm.data.source import Data, Row
from xfm.data.tables import Shape, Table, TableRecord, divided, open_table, require_rows
from xfm.data.text import default_tokenizer
from xfm.errors import nearest
from xfm.fields import Count, Fraction, Integer, Name, RowLength
from xfm.files import fingerprint
from xfm.spec import SpecError, build
from xfm.tokenizers import TOKENIZERS, Joined, Tokenizer
from xfm.tokenizers.template import laid


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A data source of texts or pairs of texts, each with a label: a class, or a number.

    path: a file or folder of .tsv, .csv, .jsonl or .parquet, or a folder that TFDS has prepared; None makes records
    from the standard library of the running Python.  task: the name in stdlib.LABELLED of the records to make.
    layout: a name of glue.LAYOUTS, which sets the columns, the classes and the names of both files in the folder
    `path`; then texts, label, labels, columns and validation are not used.
    texts: the names of one or two columns.  label: the name of the label's column.
    labels: "classes", or "numbers" for regression.
    classes: names in the order of their numbers, as texts or whole numbers. If empty, they are those of the layout, or
    those of the training records, sorted (by value if all are whole numbers). How a value names a class is described in
    labels.py: white space around it is ignored, and a missing value ("", null, NaN, NA and so on), True or False names
    a class only if `classes` lists it.
    validation: share of the records; or the path of a file of them, relative to the folder of `path`; or a TFDS split.
    columns, ragged, errors: see tables.Shape.
    tokenizer: spec of TOKENIZERS.  length: T of a row; longer texts are truncated as the tokeniser does it.
    kinds: number of token types of the model; XLNet's and Funnel's tokenisers set their own number.
    """

    path: Name | None = None
    task: str = "docstring_module"
    layout: Name | None = None
    texts: Sequence[str] = ("text",)
    label: Name = "label"
    labels: Literal["classes", "numbers"] = "classes"
    classes: Sequence[str | Integer] = ()
    validation: Fraction | Name = 0.1
    columns: Sequence[str] = ()
    ragged: str = "refuse"
    errors: Literal["strict", "replace"] = "strict"
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 128
    kinds: Count = 2

    PATHS: ClassVar = {"path": locations.path, "tokenizer": locations.spec(TOKENIZERS)}

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        label = np.int32 if self.resolved().labels == "classes" else np.float32
        tokens = dict.fromkeys(("tokens", "segments", "types"), ((self.length,), np.int32))
        return {**tokens, "labels": ((), label)}

    def open(self, workdir: Path) -> Data:
        """Both splits as rows of `tokens`, `segments`, `types` [T] and `labels` [].

        Raises SpecError for fields that do not fit together, and XfmError for records that cannot be used.
        """
        check_length(self.length)
        known = self.resolved()
        if known.labels not in ("classes", "numbers"):
            raise SpecError(f"labels={known.labels!r} is not one of classes, numbers")
        if len(known.texts) not in (1, 2):
            raise SpecError(f"texts={tuple(known.texts)} names {len(known.texts)} columns; give one, or two for pairs")
        table = known.table()
        require_rows(table, str(self.path or self.task))
        classes, label, notes = known.reading(table)
        data = text_data(
            table,
            known.texts,
            label,
            self.tokenizer,
            self.length,
            self.kinds,
            workdir,
            classes=classes,
            mark=(known.texts, known.label, known.labels, classes),
        )
        return dataclasses.replace(data, notes=(*table.notes, *notes))

    def reading(self, table: Table) -> tuple[tuple[str, ...], Callable[[TableRecord], np.generic], tuple[str, ...]]:
        """How labels are read: the classes, a function from a record to its label, and notes for the run's header."""
        if self.labels == "numbers":
            if self.classes:
                raise SpecError(
                    f"classes={tuple(self.classes)} are given, but labels='numbers' has no classes; remove one of them"
                )
            return (), lambda record: score_of(record, self.label), ()
        given = asked(self.classes) or tuple(table.names.get(self.label, ()))
        known = frozenset(given)
        found = {record.name(self.label, known) for record in table.train}
        classes = given or in_order(found)
        number = {name: i for i, name in enumerate(classes)}

        def label(record: TableRecord) -> np.generic:
            name = record.name(self.label, known)
            return np.int32(number_in(number, name, record.where, f"column {self.label!r}"))

        return classes, label, without_rows(given, found)

    def resolved(self) -> "Labelled":
        """A copy of this source in which the fields that its layout determines are filled in.

        Raises SpecError for an unknown layout, or for a layout without a `path`.
        """
        if self.layout is not None:
            if self.path is None:
                raise SpecError(f"layout={self.layout!r} describes files; set 'path' to the folder that holds them")
            one: Layout = one_of(LAYOUTS, self.layout, "layout")
            path = str(locations.expanded(self.path) / one.train)
            return dataclasses.replace(
                self, layout=None, path=path, validation=one.valid, texts=one.texts,
                label=one.label, classes=self.classes or one.classes, labels="classes" if one.classes else "numbers",
                columns=one.shape.columns, ragged=self.ragged if self.ragged == "skip" else one.shape.ragged,
            )  # fmt: skip
        return self

    def table(self) -> Table:
        """The records of both splits, read from `path` or made from the standard library."""
        if self.path is None:
            return divided(one_of(stdlib.LABELLED, self.task, "task")(), self.validation, self.task)
        return open_table(self.path, self.validation, Shape(tuple(self.columns), self.ragged, self.errors))


@dataclasses.dataclass(frozen=True)
class TextRows:
    """The rows of one split: `tokens`, `segments`, `types` [T] and `labels` [].

    texts: the encoded texts of each record.  labels: one for each record.  length: T.  pad: the id of padding.
    kinds: number of token types.
    """

    texts: Sequence[Joined]
    labels: np.ndarray
    length: int
    pad: int
    kinds: int

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Row:
        ids, types, _ = self.texts[index]
        return {**laid(ids, types, self.length, self.pad, self.kinds), "labels": self.labels[index]}


def text_data(table: Table, texts, label, tokenizer, length, kinds, workdir, *, classes, mark) -> Data:
    """Both splits of a table as rows.

    texts: the columns whose texts are joined to one row.  label: a function from a record to its label.
    tokenizer: spec of TOKENIZERS.  length: T.  kinds: number of token types.  classes: the names of the labels.
    mark: what else the fingerprint of the data depends on.
    """
    fitted, mark = fitted_to(table, texts, tokenizer, workdir, (mark, length, kinds))
    pad, kinds = fitted.vocabulary.pad, max(kinds, fitted.kinds)
    rows, facts = {}, {}
    for side, records in (("train", table.train), ("valid", table.valid)):
        joined = fitted.joined([[record.text(column) for record in records] for column in texts], length)
        rows[side] = TextRows(joined, np.array([label(record) for record in records]), length, pad, kinds)
        facts |= {f"{side}_rows": len(records), f"{side}_cut": float(np.mean([one.cut for one in joined]))}
    return Data(rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, classes, facts)


def fitted_to(table: Table, texts: Sequence[str], tokenizer, workdir: Path, how: Any) -> tuple[Tokenizer, str]:
    """The tokeniser (of a kind that is trained, after training it on the training texts) and the data's fingerprint.

    texts: columns.  tokenizer: spec of TOKENIZERS.  how: what else the fingerprint depends on.
    """

    def corpus():
        return (record.text(column) for record in table.train for column in texts)

    fitted = build(TOKENIZERS, tokenizer).fit(corpus, table.mark, workdir)
    return fitted, fingerprint(table.mark, fitted.fingerprint(), how)


def score_of(record: TableRecord, column: str) -> np.float32:
    """The number in a column of a record, for regression. Raises XfmError if it is not a finite number."""
    return number_of(record[column], record.where, f"column {column!r}")


def one_of(table: Mapping[str, Any], name: str, what: str) -> Any:
    """The entry `name` of a table. Raises SpecError, calling it `what` and naming the entries, if there is none."""
    if name not in table:
        raise SpecError(f"{what}={name!r} is not known{nearest(name, table)}; there are {', '.join(table)}")
    return table[name]
