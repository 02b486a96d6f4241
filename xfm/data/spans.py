"""Questions whose answer is a span of a text, in SQuAD's format; a long text is divided into several rows.

Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (2016); Rajpurkar, Jia, Liang (2018) for
questions without an answer; rows as in Devlin et al. 2019 (BERT), section 4.2.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Int

from xfm import locations
from xfm.data import stdlib
from xfm.data.corpus import check_length
from xfm.data.decoding import parsed, whole
from xfm.data.labelled import one_of
from xfm.data.source import Data, Row
from xfm.data.tables import Shape, TableRecord, divided, json_lines, open_table, require_rows, text_of
from xfm.data.text import default_tokenizer
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Name, RowLength
from xfm.files import File, fingerprint
from xfm.spec import build
from xfm.tokenizers import TOKENIZERS
from xfm.tokenizers.template import Template, template_of, windows


@dataclasses.dataclass(frozen=True)
class Spans:
    """A data source of questions, contexts and answer spans.

    path: a file or folder of SQuAD's .json, or of .jsonl with question, context and answers {text, answer_start}; None
    makes records from Python's standard library.  task: the name in stdlib.SPANS of the records to make.
    length: T of a row.
    stride: tokens from the start of one window of a long context to the start of the next.
    question: the largest number of tokens of a question; a longer one loses its end.
    validation, errors, tokenizer, kinds: as in Labelled.
    """

    path: Name | None = None
    task: str = "named_parameter"
    validation: Fraction | Name = 0.1
    errors: Literal["strict", "replace"] = "strict"
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 384
    stride: Count = 128
    question: Count = 64
    kinds: Count = 2

    PATHS: ClassVar = {"path": locations.path, "tokenizer": locations.spec(TOKENIZERS)}

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return {
            **dict.fromkeys(("tokens", "segments", "types"), ((self.length,), np.int32)),
            "labels": ((2,), np.int32),
        }

    def open(self, workdir: Path) -> Data:
        """Both splits as rows of `tokens`, `segments`, `types` [T] and `labels` [2].

        Raises XfmError for records that cannot be used and for rows too short for a question and a context.
        """
        check_length(self.length)
        table = self._table()
        require_rows(table, str(self.path or self.task))
        sides = {
            side: [_question(r) for r in records] for side, records in (("train", table.train), ("valid", table.valid))
        }

        def texts():
            contexts = dict.fromkeys(q.context for q in sides["train"])
            return iter([*contexts, *(q.text for q in sides["train"])])

        fitted = build(TOKENIZERS, self.tokenizer).fit(texts, table.mark, workdir)
        template = template_of(fitted, 2, self.kinds)
        rows = {side: self._rows(questions, fitted, template) for side, questions in sides.items()}
        how = (self.length, self.stride, self.question, self.kinds)
        facts = {f"{side}_questions": len(questions) for side, questions in sides.items()}
        mark = fingerprint(table.mark, fitted.fingerprint(), how)
        return Data(rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, (), facts)

    def _table(self):
        if self.path is None:
            return divided(one_of(stdlib.SPANS, self.task, "task")(), self.validation, self.task)
        return open_table(
            self.path, self.validation, Shape(errors=self.errors), suffixes=(".json", ".jsonl"), read=_read
        )

    def _rows(self, questions, tokenizer, template: Template) -> "SpanRows":
        known: dict[str, tuple] = {}
        rows = []
        for number, one in enumerate(questions):
            if one.context not in known:
                known[one.context] = tokenizer.aligned(one.context)
            ids, characters = known[one.context]
            asked = tokenizer.encode(one.text)[: self.question]
            room = self.length - template.specials - len(asked)
            if room < 1:
                raise XfmError(
                    f"length={self.length} leaves no room for a context after a question of {len(asked)} tokens; "
                    "raise length or lower question"
                )
            answer = _tokens_of(one, characters) if one.answers else None
            for window in windows(len(ids), room, min(self.stride, room)):
                rows.append(_Window(number, window, asked, answer))
        return SpanRows(rows, questions, known, template, self.length)


class _Window:
    """One row.

    number: the index of the question.  window: the range of tokens of its context.  asked: the ids of the question.
    answer: the first and last token of the answer in the whole context, or None.
    """

    __slots__ = ("number", "window", "asked", "answer")

    def __init__(self, number, window, asked, answer):
        self.number, self.window, self.asked, self.answer = number, window, asked, answer


@dataclasses.dataclass(frozen=True)
class Question:
    """A question about a context.

    where: file and question, for errors.
    answers: (text, first character) of each accepted answer; empty if the context does not answer the question.
    """

    where: str
    text: str
    context: str
    answers: Sequence[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class SpanRows:
    """The rows of one split: a question and a window of its context, with special tokens around them.

    `labels` are the positions in the row of the answer's first and last token, or 0 and 0 (the first special token) if
    the window does not contain the whole answer.
    contexts: context -> its ids, and the characters [start, stop) of each.
    """

    windows: Sequence[_Window]
    questions: Sequence[Question]
    contexts: Mapping[str, tuple]
    template: Template
    length: int

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Row:
        one = self.windows[index]
        ids, _ = self.contexts[self.questions[one.number].context]
        row = self.template.row([one.asked, ids[one.window.start : one.window.stop]], self.length)
        first, last = 0, 0
        if one.answer is not None and one.window.start <= one.answer[0] and one.answer[1] < one.window.stop:
            first, last = (self.start(index) + token - one.window.start for token in one.answer)
        return {**row, "labels": np.array([first, last], np.int32)}

    def start(self, index: int) -> int:
        """The position in the row of the first token of the context."""
        return self.template.start("b", len(self.windows[index].asked))

    def characters(self, index: int) -> tuple[int, Int[np.ndarray, "n 2"]]:
        """The index of the question of a row, and for each token of its window the characters [start, stop) of the
        context.
        """
        one = self.windows[index]
        _, characters = self.contexts[self.questions[one.number].context]
        return one.number, characters[one.window.start : one.window.stop]


def _tokens_of(one: Question, characters) -> tuple[int, int]:
    """The first and the last token that overlap the first accepted answer."""
    text, start = one.answers[0]
    touched = np.flatnonzero((characters[:, 1] > start) & (characters[:, 0] < start + len(text)))
    if not len(touched):
        raise XfmError(f"{one.where}: the tokeniser gives no token for the answer {text!r}")
    return int(touched[0]), int(touched[-1])


def _read(file: File, shape: Shape) -> Iterator[TableRecord]:
    if file.path.suffix.lower() == ".jsonl":
        yield from json_lines(file, shape)
        return
    content = parsed(text_of(file, shape), file.path)
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    values = {**asked, "context": paragraph["context"]}
                    yield TableRecord(f"{file.path}, question {asked.get('id')}", values, shape.errors)
    except (AttributeError, KeyError, TypeError) as error:
        raise XfmError(
            f"{file.path} is not in SQuAD's format ({type(error).__name__}: {error}); it needs data, paragraphs, "
            "context, qas, question and answers"
        ) from error


def _question(record: TableRecord) -> Question:
    context, found = record.text("context"), []
    for answer in _answers(record) if not record.values.get("is_impossible", False) else ():
        text, start = answer.get("text"), answer.get("answer_start")
        if isinstance(text, str):
            text = whole(text, record.errors, f"{record.where}, an answer")
        if not isinstance(text, str) or not isinstance(start, int) or context[start : start + len(text)] != text:
            raise XfmError(f"{record.where}: the context does not read {text!r} at character {start}")
        if text.strip():
            found.append((text, start))
    return Question(record.where, record.text("question"), context, tuple(found))


def _answers(record: TableRecord) -> Sequence[Mapping[str, Any]]:
    """The accepted answers of a record, each with text and answer_start; given as a list of these or as two columns."""
    answers = record["answers"]
    columns = list(answers.values()) if isinstance(answers, Mapping) else []
    if columns and all(isinstance(c, list) and len(c) == len(columns[0]) for c in columns):
        answers = [dict(zip(answers, row, strict=True)) for row in zip(*columns, strict=True)]
    if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
        raise XfmError(
            f"{record.where} has {repr(answers)[:40]} in column 'answers', where a list of answers should be, each "
            "with text and answer_start"
        )
    return answers
