"""Text from files: a folder of .txt, .md, .py, .jsonl or .parquet, or the standard library of the running Python."""

import dataclasses
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from xfm import locations
from xfm.data import corpus, parquet
from xfm.data.decoding import check_errors, decode, decode_file, parsed, whole
from xfm.data.source import Data
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Name, RowLength
from xfm.files import File, apart, fingerprint, listing, read_bytes, share
from xfm.spec import SpecError
from xfm.tokenizers import TOKENIZERS

WHOLE = (".txt", ".md", ".py")
SUFFIXES = (*WHOLE, ".jsonl", ".parquet")
# Folders that hold no prose and no code worth learning from, or that are not on every machine.
JUNK = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "__pycache__",
    "lib-dynload",
}
JUNK |= {"encodings", "ensurepip", "idlelib", "lib2to3", "msilib", "turtledemo"}


def default_tokenizer() -> Mapping[str, Any]:
    """The spec of the tokeniser of data that names none: WordPiece with 4096 ids."""
    return {"kind": "wordpiece", "size": 4096}


@dataclasses.dataclass(frozen=True)
class Text:
    """A data source of documents, packed into rows of tokens.

    path: a folder or a file; None for the source code of Python's standard library, a real corpus of about 9 MB.
    field: the field of .jsonl and .parquet that holds the text of a document.
    unit: what a document of a .txt, .md or .py is, the whole "file" or a "paragraph" (between blank lines).
    errors: "strict" or "replace", for text that is not valid: bytes that are not UTF-8, or lone surrogates.
    validation: share of the documents, chosen by a hash of their names, so that a document never changes its split; or
    the path of a folder of validation documents.
    max_bytes: stop after so many bytes of training text. Files are read in the order of their hash, validation first,
    so if files are documents the validation split does not depend on `max_bytes`.
    tokenizer: spec of TOKENIZERS.  length: T of a row.  packing: "stream" or "documents" (see packing.py).
    """

    path: Name | None = None
    field: Name = "text"
    unit: Literal["file", "paragraph"] = "file"
    errors: Literal["strict", "replace"] = "strict"
    validation: Fraction | Name = 0.02
    max_bytes: Count | None = None
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 128
    packing: Literal["stream", "documents"] = "stream"

    PATHS: ClassVar = {"path": locations.path, "validation": locations.path, "tokenizer": locations.spec(TOKENIZERS)}

    def open(self, workdir: Path) -> Data:
        """Both splits as packed rows.

        Raises SpecError for bad fields or an empty split, and XfmError for files that cannot be read.
        """
        documents, mark = self.documents()
        return corpus.token_data(
            documents,
            mark,
            workdir,
            tokenizer=self.tokenizer,
            length=self.length,
            packing=self.packing,
            origin=self.origin,
        )

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return corpus.row(self.length, self.packing)

    @property
    def origin(self) -> str:
        """The name of the corpus in error messages."""
        return self.path or "the standard library"

    def documents(self) -> tuple[corpus.Documents, str]:
        """A function from a split, "train" or "valid", to its documents; and the fingerprint of both."""
        _one_of("unit", self.unit, ("file", "paragraph"))
        check_errors(self.errors)
        if not isinstance(self.validation, str):
            check_share(self.validation)
        files = self._files()
        marks = [(split, file.name, file.size) for split, file in files]
        how = (self.field, self.unit, self.errors, self.validation, self.max_bytes)
        if isinstance(self.validation, str):
            how = how[:3] + how[4:]  # `marks` describe the files of the folder, so it may move
        return lambda split: (text for of, text in self._texts(files) if of == split), fingerprint(marks, how)

    def _files(self) -> list[tuple[str | None, File]]:
        """The files with their split, or None if the split is chosen by document; validation first, then by hash."""
        if self.path is None:
            root = sysconfig.get_paths()["stdlib"]
            found = [f for f in listing(root, (".py",), JUNK, "skip") if not _generated(f.name)]
        else:
            found = listing(self.path, SUFFIXES)
        found = sorted(found, key=lambda file: share(file.name))
        if isinstance(self.validation, str):
            held = listing(self.validation, SUFFIXES)
            return [("valid", file) for file in held] + [("train", file) for file in apart(found, held)]
        return [(None, file) for file in found]

    def _texts(self, files) -> Iterator[tuple[str, str]]:
        """The split and the text of every document, until `max_bytes` of training text are reached."""
        left = float("inf") if self.max_bytes is None else self.max_bytes
        for split, file in files:
            for name, text in self._documents(file):
                of = split or ("valid" if share(name) < self.validation else "train")
                if of == "train":
                    if left <= 0:
                        return
                    left -= len(text.encode("utf-8", "surrogatepass"))
                yield of, text

    def _documents(self, file: File) -> Iterator[tuple[str, str]]:
        suffix = file.path.suffix.lower()
        if suffix == ".jsonl":
            yield from self._jsonl(file)
        elif suffix == ".parquet":
            yield from self._parquet(file)
        else:
            text = decode_file(read_bytes(file.path), self.errors, file.path)
            if self.unit == "file":
                yield file.name, text
            else:
                for i, paragraph in enumerate(text.split("\n\n")):
                    yield f"{file.name}:{i}", paragraph.strip("\n")

    def _jsonl(self, file: File) -> Iterator[tuple[str, str]]:
        offset = 0
        for number, line in enumerate(_lines(file.path), 1):
            text, where = decode_file(line, self.errors, file.path, number, offset), f"{file.path}:{number}"
            offset += len(line)
            if not text.strip():
                continue
            record = parsed(text, where)
            if not isinstance(record, dict):
                raise XfmError(f"{where} is not a JSON object; write one per line, with a field {self.field!r}")
            yield f"{file.name}:{number}", self._text(record.get(self.field), where, record)

    def _parquet(self, file: File) -> Iterator[tuple[str, str]]:
        names = parquet.columns(file.path)
        if self.field not in names:
            self._text(None, str(file.path), names)
        for number, row in enumerate(parquet.rows(file.path, [self.field])):
            yield f"{file.name}:{number}", self._text(row[self.field], f"{file.path}, row {number}", names)

    def _text(self, value: Any, where: str, fields) -> str:
        if isinstance(value, str):
            return whole(value, self.errors, where)
        if isinstance(value, bytes):
            return decode(value, self.errors, where)
        have = ", ".join(fields)
        kind = "no text" if value is None else f"a {type(value).__name__}"
        raise XfmError(f"{where} has {kind} in field {self.field!r}; set 'field' to the one that holds text: {have}")


def check_share(validation: Any) -> None:
    """Checks a share of validation data. Raises SpecError unless it is a number between 0 and 1, both excluded."""
    if isinstance(validation, bool) or not isinstance(validation, int | float) or not 0 < validation < 1:
        raise SpecError(f"validation={validation!r} is not a share; give a number between 0 and 1")


def _one_of(name: str, value: Any, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise SpecError(f"{name}={value!r} is not one of {', '.join(legal)}")


def _generated(name: str) -> bool:
    return name.startswith(("_sysconfigdata", "config-")) or "/_sysconfigdata" in name


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except OSError as error:
        raise XfmError(f"{path} cannot be read: {error.strerror}") from error
