"""Images with the number of an object for each pixel: a folder of images and one of masks, or scenes of digits."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from xfm import locations
from xfm.data.masks import Masks, Pairs
from xfm.data.source import Data
from xfm.fields import Count, Fraction, Integer, Name, Number, Positive, Share

NUMBERS = tuple(f"object {i}" for i in range(256))  # "object 0" is the background


@dataclasses.dataclass(frozen=True)
class Objects:
    """A data source of images, each with a mask of the numbers of its objects, of which 0 is the background.

    path: a folder with the folders `images` and `masks`, as for the source `masks`; None for scenes of scikit-learn's
    digits, each of which is an object.
    size, channels, mean, std, background, ignore, augment, validation, scenes: as for the source `masks`.
    """

    path: Name | None = None
    size: Count | tuple[Count, Count] | None = None
    channels: Count | None = None
    mean: Number | tuple[Number, ...] = 0.5
    std: Positive | tuple[Positive, ...] = 0.5
    background: Share | tuple[Share, Share, Share] = 1.0
    ignore: Integer = 255
    augment: Sequence[Mapping[str, Any]] = ()
    validation: Fraction | Name = 0.1
    scenes: Count = 2000

    PATHS: ClassVar = {"path": locations.path, "validation": locations.path}

    def open(self, workdir: Path) -> Data:
        """Both splits as sources of `images` [H W C] and `labels` [H W]; nothing is written to `workdir`.

        Raises SpecError for bad fields or an empty split, and XfmError for files that do not fit together.
        """
        data = self._masks().open(workdir)
        if self.path is None:
            numbered = [self._numbered(pairs) for pairs in (data.train, data.valid)]
            data = dataclasses.replace(data, train=numbered[0], valid=numbered[1])
        facts = {name: fact for name, fact in data.facts.items() if name != "classes"}
        return dataclasses.replace(data, fingerprint=f"objects {data.fingerprint}", classes=(), facts=facts)

    def row(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array of a row."""
        return self._masks().row()

    def check(self) -> None:
        """Raises SpecError for fields that do not fit together."""
        self._masks().check()

    def _masks(self) -> Masks:
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Masks(classes=NUMBERS, **own)

    @staticmethod
    def _numbered(pairs: Pairs) -> Pairs:
        return dataclasses.replace(pairs, rows=dataclasses.replace(pairs.rows, numbered="object"))
