"""Texts, or pairs of texts, each with a class or a number."""

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
from xfm.data.tables import Record, Shape, Table, divided, open_table, require_rows
from xfm.data.text import default_tokenizer
from xfm.errors import nearest
from xfm.fields import Count, Fraction, Integer, Name, RowLength
from xfm.files import fingerprint
from xfm.spec import SpecError, build
from xfm.tokenizers import TOKENIZERS, Joined, Tokenizer
from xfm.tokenizers.template import laid


@dataclasses.dataclass(frozen=True)
class Labelled:
    """path: a file or folder of .tsv, .csv, .jsonl or .parquet, or a folder that TFDS has prepared; None makes records
    from the standard library of the running Python (`task`, a name of stdlib.LABELLED).

    layout: a name of glue.LAYOUTS, which then says the columns, classes and files in the folder `path`.
    texts: one or two columns.  label: column.
    labels: "classes", or "numbers" to be predicted as they are.
    classes: their names in order, as text or whole numbers; if empty those of the training records, sorted (as numbers
    if all are), or those of the layout. A class is named as in labels.py: blanks around it do not count, and a missing
    value ("", null, NaN, NA and the like), True or False names one only if `classes` lists it.
    validation: share of the records, or a file of them, in the folder of `path` (of TFDS, a split).
    columns, ragged, errors: see tables.Shape.
    tokenizer: spec of TOKENIZERS.  length: T of a row; longer texts are cut as the tokeniser cuts them.
    kinds: token types of the model; XLNet's and Funnel's tokenisers have their own number.
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

    def reading(self, table: Table) -> tuple[tuple[str, ...], Callable[[Record], np.generic], tuple[str, ...]]:
        """The classes, what makes the label of a record, and what the run's header says of classes."""
        if self.labels == "numbers":
            if self.classes:
                raise SpecError(
                    f"classes={tuple(self.classes)} are listed, and labels='numbers' have none; drop either"
                )
            return (), lambda record: score_of(record, self.label), ()
        given = asked(self.classes) or tuple(table.names.get(self.label, ()))
        known = frozenset(given)
        found = {record.name(self.label, known) for record in table.train}
        classes = given or in_order(found)
        number = {name: i for i, name in enumerate(classes)}

        def label(record: Record) -> np.generic:
            name = record.name(self.label, known)
            return np.int32(number_in(number, name, record.where, f"column {self.label!r}"))

        return classes, label, without_rows(given, found)

    def resolved(self) -> "Labelled":
        """The same with what its layout or its task knows."""
        if self.layout is not None:
            if self.path is None:
                raise SpecError(f"layout={self.layout!r} says how files look; set 'path' to the folder that holds them")
            one: Layout = one_of(LAYOUTS, self.layout, "layout")
            path = str(locations.expanded(self.path) / one.train)
            return dataclasses.replace(
                self, layout=None, path=path, validation=one.valid, texts=one.texts,
                label=one.label, classes=self.classes or one.classes, labels="classes" if one.classes else "numbers",
                columns=one.shape.columns, ragged=self.ragged if self.ragged == "skip" else one.shape.ragged,
            )  # fmt: skip
        return self

    def table(self) -> Table:
        if self.path is None:
            return divided(one_of(stdlib.LABELLED, self.task, "task")(), self.validation, self.task)
        return open_table(self.path, self.validation, Shape(tuple(self.columns), self.ragged, self.errors))


@dataclasses.dataclass(frozen=True)
class TextRows:
    """texts: of each record, joined.  labels: of each.  length: T.  pad: id.  kinds: token types of a row."""

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
    """Both splits of a table as rows of `texts` joined, with what `label` makes of a record."""
    fitted, mark = fitted_to(table, texts, tokenizer, workdir, (mark, length, kinds))
    pad, kinds = fitted.vocabulary.pad, max(kinds, fitted.kinds)
    rows, facts = {}, {}
    for side, records in (("train", table.train), ("valid", table.valid)):
        joined = fitted.joined([[record.text(column) for record in records] for column in texts], length)
        rows[side] = TextRows(joined, np.array([label(record) for record in records]), length, pad, kinds)
        facts |= {f"{side}_rows": len(records), f"{side}_cut": float(np.mean([one.cut for one in joined]))}
    return Data(rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, classes, facts)


def fitted_to(table: Table, texts: Sequence[str], tokenizer, workdir: Path, how: Any) -> tuple[Tokenizer, str]:
    """The tokeniser, trained on the training texts if it is to be trained, and the fingerprint of the data."""

    def corpus():
        return (record.text(column) for record in table.train for column in texts)

    fitted = build(TOKENIZERS, tokenizer).fit(corpus, table.mark, workdir)
    return fitted, fingerprint(table.mark, fitted.fingerprint(), how)


def score_of(record: Record, column: str) -> np.float32:
    """A label that is a number."""
    return number_of(record[column], record.where, f"column {column!r}")


def one_of(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise SpecError(f"{what}={name!r} is not known{nearest(name, table)}; there are {', '.join(table)}")
    return table[name]
