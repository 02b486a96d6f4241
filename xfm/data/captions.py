"""Images with captions: a table of files and texts, images with a text file beside each, or described digits."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.data.corpus import check_length
from xfm.data.decoding import decode_file
from xfm.data.images import DIGITS, SUFFIXES, digits
from xfm.data.labelled import Labelled, fitted_to
from xfm.data.masks import opened
from xfm.data.pixels import AUGMENTS, Pixels, of_source
from xfm.data.source import Data, Row
from xfm.data.tables import SUFFIXES as TABLES
from xfm.data.tables import Shape, Skipped, Table, TableRecord, divided, open_table, read_file, require_rows
from xfm.data.text import check_share, default_tokenizer
from xfm.errors import XfmError
from xfm.fields import Count, Fraction, Integer, Name, Number, Positive, RowLength, Share
from xfm.files import File, apart, fingerprint, listing, read_bytes, share
from xfm.spec import build
from xfm.tokenizers import TOKENIZERS, Joined
from xfm.tokenizers.template import laid

NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDINGS = (
    "a photograph of the digit {}", "a handwritten {}", "the number {} on a grey background", "somebody wrote {}",
    "a small picture of a {}", "it is the digit {}",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Captions:
    """A data source of images with a caption each, for a network of two towers, "vision" and "text".

    path: a table (.csv, .tsv, .jsonl or .parquet) with a column of files and one of captions, such as the metadata.csv
    of Hugging Face's folders of images; a folder with such a table; or a folder of images, each with its caption in a
    .txt file of the same name beside it, as WebDataset has them. None for scikit-learn's digits, described in words.
    image, text: the columns of the file, absolute or relative to the folder of the table, and of the caption.
    label, classes: the column of a class, and the names of all classes, as in Labelled; no class if None. The digits
    have their numerals as classes.
    size, channels, mean, std, background, augment: as in Images.
    validation: share of the rows, or the path of such a table or folder.
    errors: "strict" or "replace", for text that is not valid.  tokenizer: spec of TOKENIZERS.
    length: T of each caption; longer ones are truncated.
    padding: "masked", or "visible" where padding counts as part of the caption (SigLIP; Zhai et al. 2023).
    """

    path: Name | None = None
    image: Name = "file_name"
    text: Name = "text"
    label: Name | None = None
    classes: Sequence[str | Integer] = ()
    size: Count | tuple[Count, Count] | None = None
    channels: Count | None = None
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    background: Share | tuple[Share, Share, Share] = 1.0
    augment: Sequence[Mapping[str, Any]] = ()
    validation: Fraction | Name = 0.1
    errors: Literal["strict", "replace"] = "strict"
    tokenizer: Mapping[str, Any] = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 77
    padding: Literal["masked", "visible"] = "masked"

    PATHS: ClassVar = {
        "path": locations.path,
        "validation": locations.path,
        "tokenizer": locations.spec(TOKENIZERS),
    }

    def open(self, workdir: Path) -> Data:
        """Both splits as rows of `vision/images` [H W C], `text/tokens` and `text/segments` [T], and `labels` [] if
        there are classes.

        Raises XfmError for records that cannot be used, and for images that are not there.
        """
        check_length(self.length)
        pixels, column = of_source(self, DIGITS), self.label if self.path else "label"
        table, read = self._digits() if self.path is None else (self._table(), _of_file)
        require_rows(table, str(self.path or "the digits"))
        classes, label, notes = (), None, ()
        if column is not None:
            names = self.classes if self.path else NUMERALS
            classes, label, notes = Labelled(label=column, classes=names).reading(table)
        how = (pixels.shape, self.mean, self.std, self.background, self.augment, self.text, column, classes)
        fitted, mark = fitted_to(table, (self.text,), self.tokenizer, workdir, (how, self.length, self.padding))
        augments, rows, facts = [build(AUGMENTS, spec) for spec in self.augment], {}, {}
        for side, records in (("train", table.train), ("valid", table.valid)):
            texts = fitted.joined([[record.text(self.text) for record in records]], self.length)
            labels = None if label is None else np.array([label(record) for record in records])
            images = [record[self.image] for record in records]
            changes = augments if side == "train" else ()
            laid_out = Texts(texts, self.length, fitted.vocabulary.pad, self.padding)
            rows[side] = Captioned(images, read, pixels, laid_out, labels, changes, self.path is not None)
            facts |= {f"{side}_rows": len(records), f"{side}_cut": float(np.mean([one.cut for one in texts]))}
        notes = (*table.notes, *notes)
        return Data(rows["train"], rows["valid"], fitted, fitted.vocabulary, mark, classes, facts, notes)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        text = {f"text/{name}": ((self.length,), np.int32) for name in ("tokens", "segments")}
        labels = {} if self.path and self.label is None else {"labels": ((), np.int32)}
        return {"vision/images": (of_source(self, DIGITS).shape, np.float32), **text, **labels}

    def _digits(self) -> tuple[Table, Callable]:
        count, read, numbers = digits()
        names = [NUMERALS[number] for number in numbers]
        records = [
            (f"digit {i}", {self.image: i, self.text: WORDINGS[i % len(WORDINGS)].format(names[i]), "label": names[i]})
            for i in range(count)
        ]
        return divided(records, self.validation, "the digits"), read

    def _table(self) -> Table:
        """The records, whose images are absolute paths."""
        root = locations.expanded(self.path)
        files = listing(root, (*TABLES, *SUFFIXES))
        if any(file.path.suffix.lower() in TABLES for file in files):
            return open_table(self.path, self.validation, Shape(errors=self.errors), read=self._read)
        held = listing(locations.expanded(self.validation), SUFFIXES) if isinstance(self.validation, str) else []
        train = apart(files, held)
        if not held:
            check_share(self.validation)
            held = [file for file in train if share(file.name) < self.validation]
            train = [file for file in train if share(file.name) >= self.validation]
        mark = fingerprint([(file.name, file.size) for file in (*train, *held)], len(held))
        return Table([self._beside(file) for file in train], [self._beside(file) for file in held], mark)

    def _read(self, file: File, shape: Shape) -> Iterator[TableRecord | Skipped]:
        """The records of a table, with the paths of their images. Raises XfmError for an image that is not there."""
        for record in read_file(file, shape):
            if isinstance(record, TableRecord):
                path = file.path.parent / locations.expanded(record.text(self.image))
                if not path.is_file():
                    raise XfmError(f"{record.where} names the image {path}, which is not there; correct {self.image!r}")
                record = record._replace(values={**record.values, self.image: path})
            yield record

    def _beside(self, file: File) -> TableRecord:
        """The record of an image with its caption beside it. Raises XfmError if there is none."""
        text = file.path.with_suffix(".txt")
        if not text.is_file():
            raise XfmError(f"{file.path} has no caption; add {text.name} beside it, or give a table of files and texts")
        caption = decode_file(read_bytes(text), self.errors, text).strip()
        return TableRecord(str(text), {self.image: file.path, self.text: caption}, self.errors)


def _of_file(path: Path, pixels: Pixels) -> np.ndarray:
    """The array of an image's file."""
    return opened(path, pixels.of_picture)


@dataclasses.dataclass(frozen=True)
class Texts:
    """Captions as rows of `tokens` and `segments` [T].  pad: the id of padding.  padding: as in Captions."""

    texts: Sequence[Joined]
    length: int
    pad: int
    padding: str

    def __getitem__(self, index: int) -> Row:
        ids, types, _ = self.texts[index]
        row = laid(ids, types, self.length, self.pad, kinds=2)
        seen = row["segments"] if self.padding == "masked" else np.ones_like(row["segments"])
        return {"tokens": row["tokens"], "segments": seen}


@dataclasses.dataclass(frozen=True)
class Captioned:
    """The rows of one split.

    images: what `read` finds each image by.  read: (one of `images`, pixels) -> its array.  labels: of the classes,
    None without.  augments: applied to training images.  decodes: whether images are read from files.
    """

    images: Sequence[Any]
    read: Callable[[Any, Pixels], np.ndarray]
    pixels: Pixels
    texts: Texts
    labels: np.ndarray | None
    augments: Sequence[Callable]
    decodes: bool

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Row:
        text = {f"text/{name}": array for name, array in self.texts[index].items()}
        row = {"vision/images": self.read(self.images[index], self.pixels), **text}
        return row if self.labels is None else {**row, "labels": self.labels[index]}

    def augment(self, row: Row, rng: np.random.Generator) -> Row:
        """The row with every augmentation applied to its image, in order."""
        images = row["vision/images"]
        for change in self.augments:
            images = change(images, rng)
        return {**row, "vision/images": images}
