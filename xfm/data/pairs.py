"""Groups of texts: a query with a positive and any number of negatives, or a pair with a similarity score."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.batch import texts_of_row, with_prefix
from xfm.data import stdlib
from xfm.data.corpus import check_length
from xfm.data.labelled import fitted_to, one_of, score_of
from xfm.data.source import Data, Row
from xfm.data.tables import Shape, divided, open_table, require_rows
from xfm.data.text import default_tokenizer
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Name, Positive, RowLength
from xfm.tokenizers import TOKENIZERS, Joined
from xfm.tokenizers.template import laid


@dataclasses.dataclass(frozen=True)
class Pairs:
    """A data source of queries with positive and negative texts, or of pairs of texts with a score.

    path: a file or folder of .tsv, .csv, .jsonl or .parquet, or a folder that TFDS has prepared; None makes records
    from Python's standard library.  task: the name in stdlib.PAIRS of the records to make.
    texts: the columns of the query, the positive, and any number of negatives.
    label: the column of the score; None if there is none.
    prompts: a prefix for each column of `texts`, in the same order; empty for no prefixes.
    length: T of each text; longer ones are truncated.
    scale: the number that scores are divided by (5 for STS-B, whose scores are 0 to 5).
    columns, ragged, errors, validation, tokenizer, kinds: as in Labelled.
    """

    path: Name | None = None
    task: str = "docstring_function"
    texts: Sequence[str] = ("query", "positive")
    label: Name | None = None
    scale: Positive = 1.0
    prompts: Sequence[str] = ()
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
        text = dict.fromkeys(("tokens", "segments", "types"), ((self.length,), np.int32))
        whole = {name: x for prefix in texts_of_row(len(self.texts)) for name, x in with_prefix(prefix, text).items()}
        return whole if self.label is None else {**whole, "labels": ((), np.float32)}

    def open(self, workdir: Path) -> Data:
        """Both splits as rows of `tokens`, `segments`, `types` [T] of each text, and `labels` [] if there is a `label`.

        The first text's arrays have these names, the others' the prefixes of `texts_of_row`, such as `positive/tokens`.

        Raises XfmError for fields that do not fit together and for records that cannot be used.
        """
        check_length(self.length)
        if len(self.texts) < 2:
            raise XfmError(
                f"texts={tuple(self.texts)} names fewer than two columns; give those of a query and a positive"
            )
        if self.prompts and len(self.prompts) != len(self.texts):
            raise XfmError(
                f"{len(self.prompts)} prompts do not fit {len(self.texts)} texts; give one for each, or none"
            )
        if self.path is None:
            table = divided(one_of(stdlib.PAIRS, self.task, "task")(), self.validation, self.task)
        else:
            table = open_table(self.path, self.validation, Shape(tuple(self.columns), self.ragged, self.errors))
        require_rows(table, str(self.path or self.task))
        how = (self.texts, self.label, self.scale, self.prompts, self.length, self.kinds)
        fitted, mark = fitted_to(table, self.texts, self.tokenizer, workdir, how)
        kinds = max(self.kinds, fitted.kinds)
        prompts = self.prompts or ("",) * len(self.texts)
        rows = {}
        for side, records in (("train", table.train), ("valid", table.valid)):
            texts = [
                fitted.joined([[before + record.text(column) for record in records]], self.length)
                for before, column in zip(prompts, self.texts, strict=True)
            ]
            labels = None
            if self.label is not None:
                labels = np.array([score_of(record, self.label) for record in records]) / np.float32(self.scale)
            rows[side] = PairRows(texts, labels, self.length, fitted.vocabulary.pad, kinds)
        facts = {f"{side}_rows": len(source) for side, source in rows.items()}
        return Data(rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, (), facts, table.notes)


@dataclasses.dataclass(frozen=True)
class PairRows:
    """The rows of one split: `tokens`, `segments` and `types` [T] of each text, and `labels` [] if there are scores.

    texts: the encoded texts of each column.  length: T.  pad: the id of padding.  kinds: number of token types.
    """

    texts: Sequence[Sequence[Joined]]
    labels: np.ndarray | None
    length: int
    pad: int
    kinds: int

    def __len__(self) -> int:
        return len(self.texts[0])

    def __getitem__(self, index: int) -> Row:
        out = {}
        for prefix, texts in zip(texts_of_row(len(self.texts)), self.texts, strict=True):
            ids, types, _ = texts[index]
            out |= with_prefix(prefix, laid(ids, types, self.length, self.pad, self.kinds))
        return out if self.labels is None else {**out, "labels": self.labels[index]}
