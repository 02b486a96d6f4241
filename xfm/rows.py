"""Rows of a source with their numbers, which data and evaluators give to what draws by them."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class NumberedRows:
    """The rows of a source with their numbers.  chosen: the numbers of those that are here; all if None."""

    source: Any
    chosen: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.source) if self.chosen is None else len(self.chosen)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        index = index if self.chosen is None else self.chosen[index]
        numbered = getattr(self.source, "numbered", None)
        number, row = (index, self.source[index]) if numbered is None else numbered(index)
        return {**row, "row": np.int32(number)}

    def __getattr__(self, name: str) -> Any:
        """What the source has besides, such as `augment` and `decodes`."""
        return getattr(object.__getattribute__(self, "source"), name)
