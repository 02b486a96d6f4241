"""Rows with their numbers: what an objective needs for which every training row is a class of its own."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xfm import locations
from xfm.batch import spread_out
from xfm.data.checks import check_source
from xfm.data.source import Data, Row, Source
from xfm.files import fingerprint
from xfm.rows import NumberedRows
from xfm.spec import Spec, SpecError, build

HELD = -1  # the number of a row that is held out


@dataclasses.dataclass(frozen=True)
class Numbered:
    """A data source of the rows of another one, each with its number, `row` [].

    of: spec of the other source.
    Training rows have the numbers 0, 1, 2, … of their split, whatever the order in which they are drawn; a row that is
    read in place of one that cannot be read keeps its own number. Rows that are held out have the number -1, and no
    loss. The validation loss is therefore that of as many training rows, read as rows of validation are, without
    augmentation; evaluators compare training rows with those held out, as ever.
    """

    of: Spec

    PATHS: ClassVar = {"of": locations.spec("source")}

    def open(self, workdir: Path) -> Data:
        """Both splits, and the training rows of the validation loss.  Raises SpecError where the other source does."""
        data = self._source().open(workdir)
        plain = getattr(data.train, "plain", lambda: data.train)()
        seen = tuple(spread_out(len(data.train), len(data.valid)))
        notes = (*data.notes, f"validation: its loss is that of {len(seen):,} training rows, without augmentation")
        return dataclasses.replace(
            data,
            train=NumberedRows(data.train),
            valid=Held(data.valid),
            seen=NumberedRows(plain, seen),
            fingerprint=fingerprint(data.fingerprint, "numbered"),
            notes=notes,
        )

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return {**self._source().row(), "row": ((), np.int32)}

    def check(self) -> None:
        """Raises SpecError for a mistake in the other source's spec."""
        check_source(self._source())

    def _source(self) -> Any:
        if self.of.get("kind") == "numbered":
            raise SpecError("numbered: its rows have numbers already; set of to the source that is numbered")
        return build("source", self.of)


@dataclasses.dataclass(frozen=True)
class Held:
    """The rows of a source that no number has been given."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Row:
        return {**self.source[index], "row": np.int32(HELD)}

    def __getattr__(self, name: str) -> Any:
        """What the source has besides."""
        return getattr(object.__getattribute__(self, "source"), name)
