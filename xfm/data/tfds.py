"""Datasets that TensorFlow Datasets (TFDS) has prepared, read by row from ArrayRecord without TensorFlow."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from xfm import locations
from xfm.data import corpus
from xfm.data.decoding import check_errors, decode
from xfm.data.pixels import AUGMENTS, Pixels
from xfm.data.records import Records, label, number, one_document, picture, row_of
from xfm.data.source import Data
from xfm.data.text import check_share, default_tokenizer
from xfm.errors import XfmError, nearest
from xfm.fields import Fraction, Name, RowLength
from xfm.files import fingerprint, first_line, optional, share
from xfm.locations import expanded
from xfm.spec import Spec, SpecError, build
from xfm.tokenizers import TOKENIZERS


@dataclasses.dataclass(frozen=True)
class TextFields:
    """How text features are turned into rows: tokenizer, length, packing and errors as in the text source.

    packing: in addition to "stream" and "documents", "single" puts one document in each row, truncated to `length`;
    only then may rows have other fields beside the tokens.
    """

    tokenizer: Spec = dataclasses.field(default_factory=default_tokenizer)
    length: RowLength = 128
    packing: Literal["stream", "documents", "single"] = "stream"
    errors: Literal["strict", "replace"] = "strict"


@dataclasses.dataclass(frozen=True)
class ImageFields(Pixels):
    """How image features are turned into arrays: as in Pixels; `augment` are specs of AUGMENTS for training."""

    augment: Sequence[Spec] = ()


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A data source over a prepared TFDS dataset.

    fields: batch name -> feature of the dataset, such as {"tokens": "text", "labels": "label"}. A text feature under
    `tokens` is tokenised, an image feature is scaled, and numbers stay as they are.
    directory: the folder of a prepared dataset, which holds dataset_info.json.
    dataset, data_dir: in place of `directory`, the name of a dataset that TFDS knows, and the folder that it is in.
    split: the training split, such as "train" or "train[:90%]".
    validation: a share of it, chosen by a hash of the row number; or the name of another split.
    text, images: fields of TextFields and of ImageFields.
    """

    fields: Mapping[str, str]
    directory: Name | None = None
    dataset: Name | None = None
    data_dir: Name | None = None
    split: str = "train"
    validation: Fraction | Name = 0.05
    text: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    images: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    PATHS: ClassVar = {
        "directory": locations.path,
        "data_dir": locations.path,
        "text": locations.fields({"tokenizer": locations.spec(TOKENIZERS)}),
    }

    def open(self, workdir: Path) -> Data:
        """Both splits as rows of the arrays that `fields` names.

        Raises SpecError for bad fields, and XfmError for a dataset that cannot be read.
        """
        builder = self._builder()
        features = builder.info.features
        for feature in self.fields.values():
            if feature not in features:
                legal = ", ".join(sorted(features))
                raise SpecError(f"{self._where} has no feature {feature!r}{nearest(feature, features)}; it has {legal}")
        splits = self._splits(builder)
        info = builder.info
        sizes = {name: (one.num_examples, one.num_bytes) for name, one in info.splits.items()}
        mark = fingerprint(info.full_name, sizes, self.split, self.validation, self.fields)
        label = features[self.fields["labels"]] if "labels" in self.fields else None
        classes = tuple(getattr(label, "names", None) or ())
        readers = self._readers(features)
        tokenizer = None
        if "tokens" in self.fields and _is_text(features[self.fields["tokens"]]):
            text = self._text()
            check_errors(text.errors)
            if text.packing != "single":
                return self._packed(splits, text, mark, workdir)
            corpus.check_length(text.length)
            fit = build(TOKENIZERS, text.tokenizer).fit
            tokenizer = fit(lambda: self._texts(splits["train"], text.errors), mark, workdir)
            readers["tokens"] = (self.fields["tokens"], _document(tokenizer, text))
            mark = fingerprint(mark, tokenizer.fingerprint(), text.length, text.errors)
        augments = []
        if "images" in self.fields:
            augments = [build(AUGMENTS, spec) for spec in self._pixels().augment]
        train = self._records(splits["train"], readers, augments)
        valid = self._records(splits["valid"], readers, [])
        mark = fingerprint(mark, self.images)
        facts = {"train_rows": len(train), "valid_rows": len(valid)}
        vocabulary = tokenizer.vocabulary if tokenizer else None
        return Data(train, valid, tokenizer, vocabulary, mark, classes, facts)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of the tokens and images of a row; those of other fields are only known to the dataset."""
        known = {}
        if "tokens" in self.fields:
            text = self._text()
            packing = "documents" if text.packing == "single" else text.packing
            known |= corpus.row(text.length, packing)
        if "images" in self.fields:
            known["images"] = (self._pixels().shape, np.float32)
        return known

    def check(self) -> None:
        """Checks the specs in `text` and `images`. Raises SpecError for a mistake."""
        build(TOKENIZERS, self._text().tokenizer)
        for augment in self._pixels().augment if self.images or "images" in self.fields else ():
            build(AUGMENTS, augment)

    def records(self) -> tuple[Mapping[str, Any], dict[str, tuple[Any, np.ndarray]]]:
        """The dataset's features; and for "train" and "valid" the rows of a TFDS split, and the indices of those that
        are used.
        """
        builder = self._builder()
        return builder.info.features, self._splits(builder)

    @property
    def _where(self) -> str:
        return str(self.directory or self.dataset)

    def _builder(self):
        if (self.directory is None) == (self.dataset is None):
            raise SpecError("tfds needs either 'directory' or 'dataset', and not both")
        tfds = optional("tensorflow_datasets", "data")
        try:
            if self.directory is not None:
                builder = tfds.builder_from_directory(str(expanded(self.directory)))
            else:
                where = None if self.data_dir is None else str(expanded(self.data_dir))
                builder = tfds.builder(self.dataset, data_dir=where)
        except Exception as error:
            reason = first_line(error)
            raise XfmError(
                f"{self._where} cannot be opened as a dataset of TFDS ({reason}); give the 'directory' of a prepared "
                "one, the folder that holds dataset_info.json"
            ) from error
        if not builder.info.splits:
            raise XfmError(
                f"{self._where} is not prepared in {builder.data_dir}; prepare it first, with "
                "file_format='array_record', as xfm downloads nothing"
            )
        return builder

    def _splits(self, builder) -> dict[str, tuple[Any, np.ndarray]]:
        """For "train" and "valid": the rows of a TFDS split, and the indices of those that are used."""
        if isinstance(self.validation, str):
            named = {"train": self.split, "valid": self.validation}
            found = {side: self._read(builder, split) for side, split in named.items()}
            if empty := [named[side] for side, rows in found.items() if not len(rows)]:
                raise SpecError(f"the split {empty[0]!r} of {self._where} has no rows; name another one")
            return {side: (rows, np.arange(len(rows))) for side, rows in found.items()}
        check_share(self.validation)
        rows = self._read(builder, self.split)
        held = np.array([share(str(i)) < self.validation for i in range(len(rows))], bool)
        if held.all() or not held.any():
            side = "train" if held.all() else "valid"
            raise SpecError(
                f"the {side} split of {self._where} has none of the {len(rows)} rows; change the share 'validation', "
                "or name another split there"
            )
        return {"train": (rows, np.flatnonzero(~held)), "valid": (rows, np.flatnonzero(held))}

    def _read(self, builder, split: str):
        kind = builder.info.file_format.value
        names = list(builder.info.splits)
        if kind == "parquet" and split not in names:
            raise XfmError(
                f"{self._where} is stored as Parquet, from which TFDS cannot read a part of a split such as {split!r}; "
                f"name one of {', '.join(names)}, or prepare it with file_format='array_record'"
            )
        if kind not in ("array_record", "parquet"):
            raise XfmError(
                f"{self._where} is stored as {kind}, which cannot be read by row; prepare it with "
                "file_format='array_record'"
            )
        try:
            return builder.as_data_source(split=split)
        except ImportError as error:
            raise XfmError(f"{self._where} needs {error.name}: pip install 'xfm[data]'") from error
        except Exception as error:
            reason = first_line(error)
            raise XfmError(f"{self._where} has no split {split!r} ({reason}); it has {', '.join(names)}") from error

    def _packed(self, splits, text: TextFields, mark: str, workdir: Path) -> Data:
        if beside := [name for name in self.fields if name != "tokens"]:
            raise SpecError(
                f"packing={text.packing!r} cannot keep {', '.join(beside)} beside the tokens; set packing='single'"
            )
        return corpus.token_data(
            lambda split: self._texts(splits[split], text.errors),
            mark if text.errors == "strict" else fingerprint(mark, text.errors),
            workdir,
            tokenizer=text.tokenizer,
            length=text.length,
            packing=text.packing,
            origin=self._where,
        )

    def _texts(self, split, errors: str) -> Iterator[str]:
        rows, keep = split
        feature = self.fields["tokens"]
        for i in keep.tolist():
            yield decode(row_of(rows, i, self._where)[feature], errors, f"row {i} of {self._where}", "text.errors")

    def _readers(self, features):
        readers = {}
        for name, feature in self.fields.items():
            image = type(features[feature]).__name__ == "Image"
            plain = label(getattr(features[feature], "names", None) or ()) if name == "labels" else number
            readers[name] = (feature, picture(self._pixels()) if image else plain)
        return readers

    def _records(self, split, readers, augments) -> Records:
        rows, keep = split
        records = Records(rows, self._where, keep, readers, augments)
        records[0]  # raises the error of a feature that does not fit its reader now, and not in the first step
        return records

    def _text(self) -> TextFields:
        return build({"text": TextFields}, {"kind": "text", **self.text})

    def _pixels(self) -> ImageFields:
        return build({"images": ImageFields}, {"kind": "images", **self.images})


def _document(tokenizer, text: TextFields):
    """A reader for a text feature: it returns the arrays of a row with that one document."""

    def read(value, where):
        return one_document(tokenizer, decode(value, text.errors, where, "text.errors"), text.length)

    return read


def _is_text(feature) -> bool:
    return type(feature).__name__ == "Text" or getattr(feature, "np_dtype", None) in (
        object,
        np.object_,
    )
