"""Sentences with a tag for each word, aligned with the tokens of the words."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.data import stdlib
from xfm.data.corpus import check_length
from xfm.data.labelled import one_of
from xfm.data.labels import asked, in_order, name_of, number_in, without_rows
from xfm.data.source import Data, Row
from xfm.data.tables import Shape, TableRecord, divided, open_table, read_file, require_rows, text_of
from xfm.data.text import default_tokenizer
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Integer, Name, RowLength
from xfm.files import File, fingerprint
from xfm.spec import build
from xfm.tokenizers import TOKENIZERS
from xfm.tokenizers.template import Template, template_of, windows

CONLL = (".conll", ".iob", ".iob2", ".bio", ".txt", ".tsv", ".train", ".dev", ".test", ".testa", ".testb")


@dataclasses.dataclass(frozen=True)
class Tagged:
    """A data source of sentences with one tag per word.

    path: a file or folder of CoNLL columns (.conll, .iob, .bio, .txt, .tsv: one word per line, columns separated by
    white space or tabs, sentences by empty lines); or of .jsonl or .parquet, with a list in each of two columns; or a
    folder that TFDS has prepared; None makes records from Python's standard library.
    task: the name in stdlib.TAGGED of the records to make.
    words, tags: the columns of .jsonl, .parquet and TFDS.
    column: the index of the tag in a CoNLL line, -1 for the last one; the word is the first.
    classes, errors: as in Labelled, for the tags.
    pieces: which tokens of a word have a label, "first" or "all".
    length: T of a row. A longer sentence is divided into windows that begin `stride` tokens apart, one per row; each
    token has a label in only one of them.
    validation, tokenizer, kinds: as in Labelled.
    """

    path: Name | None = None
    task: str = "python_tokens"
    words: Name = "tokens"
    tags: Name = "tags"
    column: Integer = -1
    classes: Sequence[str | Integer] = ()
    errors: Literal["strict", "replace"] = "strict"
    pieces: Literal["first", "all"] = "first"
    validation: Fraction | Name = 0.1
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 128
    stride: Count = 64
    kinds: Count = 2

    PATHS: ClassVar = {"path": locations.path, "tokenizer": locations.spec(TOKENIZERS)}

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        names = ("tokens", "segments", "types", "labels", "weights")
        return dict.fromkeys(names, ((self.length,), np.int32))

    def open(self, workdir: Path) -> Data:
        """Both splits as rows of `tokens`, `segments`, `types`, `labels` and `weights` (1 where a label counts) [T].

        Raises XfmError for fields or records that cannot be used.
        """
        check_length(self.length)
        if self.pieces not in ("first", "all"):
            raise XfmError(f"pieces={self.pieces!r} is not one of first, all")
        table = self._table()
        require_rows(table, str(self.path or self.task))
        given = asked(self.classes) or tuple(table.names.get(self.tags, ()))
        sides = {
            side: [self._sentence(r, frozenset(given)) for r in records]
            for side, records in (("train", table.train), ("valid", table.valid))
        }
        found = {tag for _, tags, _ in sides["train"] for tag in tags}
        classes = given or in_order(found)
        spec = build(TOKENIZERS, self.tokenizer)
        fitted = spec.fit(lambda: (" ".join(words) for words, *_ in sides["train"]), table.mark, workdir)
        template = template_of(fitted, 1, self.kinds)
        rows = {side: self._rows(sentences, fitted, template, classes) for side, sentences in sides.items()}
        mark = fingerprint(table.mark, fitted.fingerprint(), classes, self.pieces, self.length, self.stride, self.kinds)
        facts = {f"{side}_sentences": len(sentences) for side, sentences in sides.items()}
        return Data(
            rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, classes, facts, without_rows(given, found)
        )

    def _table(self):
        if self.path is None:
            return divided(one_of(stdlib.TAGGED, self.task, "task")(), self.validation, self.task)
        shape = Shape(errors=self.errors)
        return open_table(self.path, self.validation, shape, suffixes=(*CONLL, ".jsonl", ".parquet"), read=self._read)

    def _read(self, file: File, shape: Shape) -> Iterator[TableRecord]:
        if file.path.suffix.lower() not in CONLL:
            yield from read_file(file, shape)
            return
        text = text_of(file, shape)
        words, tags, first, count = [], [], 1, 0
        for number, line in enumerate([*text.split("\n"), ""], 1):
            cells = line.split("\t") if "\t" in line else line.split()
            if any(cells) and cells[0] != "-DOCSTART-":
                if len(cells) < 2:
                    raise XfmError(f"{file.path}:{number} has no tag after {cells[0]!r}; a line needs a word and a tag")
                if not -len(cells) <= self.column < len(cells):
                    raise XfmError(f"{file.path}:{number} has {len(cells)} columns, and no column {self.column}")
                first, count = (first, count) if words else (number, len(cells))
                if len(cells) != count:
                    raise XfmError(
                        f"{file.path}:{number} has {len(cells)} columns where line {first}, of the same sentence, has "
                        f"{count}; a word cannot contain a blank, nor a cell a tab"
                    )
                words.append(cells[0])
                tags.append(cells[self.column])
            elif words:
                yield TableRecord(f"{file.path}:{first}", {self.words: words, self.tags: tags}, shape.errors)
                words, tags = [], []

    def _sentence(self, record: TableRecord, known: Collection[str]) -> tuple[list[str], list[str], str]:
        words, values = record.words(self.words), record.several(self.tags)
        tags = [
            name_of(tag, record.where, f"number {i} of column {self.tags!r}", known, record.errors)
            for i, tag in enumerate(values)
        ]
        if len(words) != len(tags):
            raise XfmError(f"{record.where} has {len(words)} words and {len(tags)} tags; each word has one tag")
        return words, tags, record.where

    def _rows(self, sentences, tokenizer, template: Template, classes) -> "TaggedRows":
        pieces, room, numbers = [], self.length - template.specials, {name: i for i, name in enumerate(classes)}
        for number, (words, tags, where) in enumerate(sentences):
            ids, word = aligned_words(tokenizer, words)
            judged = word >= 0
            if self.pieces == "first":
                judged &= np.r_[True, word[1:] != word[:-1]][: len(word)]
            labels = np.array([number_in(numbers, tag, where, f"column {self.tags!r}") for tag in tags], np.int32)
            labels = labels[np.maximum(word, 0)] if tags else word
            spans = list(windows(len(ids), room, min(self.stride, room)))
            owner = owners(len(ids), spans)
            for i, span in enumerate(spans):
                at = slice(span.start, span.stop)
                pieces.append((number, span.start, ids[at], labels[at], judged[at] & (owner[at] == i), word[at]))
        return TaggedRows(pieces, template, self.length, [tags for _, tags, _ in sentences])


@dataclasses.dataclass(frozen=True)
class TaggedRows:
    """The rows of one split.

    pieces: for each row, the index of its sentence, its first token there, and for each of its tokens the id, the
    label, whether the label counts, and the index of the word.
    truth: the tags of each sentence.
    """

    pieces: Sequence[tuple]
    template: Template
    length: int
    truth: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Row:
        _, _, ids, labels, judged, _ = self.pieces[index]
        row = self.template.row([ids], self.length)
        row |= {name: np.zeros(self.length, np.int32) for name in ("labels", "weights")}
        start = self.template.start("a")
        row["labels"][start : start + len(ids)] = labels
        row["weights"][start : start + len(ids)] = judged
        return row

    def words(self, index: int) -> tuple[int, dict[int, int]]:
        """The index of the sentence of a row; and for each word labelled in the row, the position of its first token
        with a label.
        """
        sentence, _, _, _, judged, word = self.pieces[index]
        start = self.template.start("a")
        positions = np.flatnonzero(judged)[::-1]  # in reverse, so that the dict keeps the first of each word
        return sentence, {int(word[p]): int(p) + start for p in positions}


def aligned_words(tokenizer, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the words joined by blanks, and for each id the index of its word, or -1 for a token of a blank alone.

    A token that overlaps two words belongs to the first. A word that the tokeniser drops has no token.
    """
    ids, characters = tokenizer.aligned(" ".join(words))
    ends = np.cumsum([len(word) + 1 for word in words]) - 1 if words else np.zeros(0, int)
    starts = ends - np.array([len(word) for word in words], int)
    word = np.searchsorted(ends, characters[:, 0], side="right")
    inside = np.minimum(word, max(len(words) - 1, 0))
    touches = (word < len(words)) & (characters[:, 1] > starts[inside]) if words else np.zeros(len(ids), bool)
    return ids, np.where(touches, word, -1)


def owners(count: int, spans: Sequence[range]) -> np.ndarray:
    """For each of `count` tokens, the index of the window in which it is farthest from an edge.

    Devlin et al. 2019 (BERT) choose windows in this way for answers.
    """
    index = np.arange(count)
    if not spans:
        return index
    depth = [np.where((index >= s.start) & (index < s.stop), np.minimum(index - s.start, s.stop - 1 - index), -1)
             for s in spans]  # fmt: skip
    return np.argmax(depth, axis=0)
