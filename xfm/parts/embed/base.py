"""The contract of an embedding: what it states about itself, so that no other package reads its spec."""

from typing import Any, ClassVar

import flax.linen as nn
import numpy as np

from xfm.parts.position import POSITIONS
from xfm.spec import build

LENGTH = 512  # tokens in a row where neither the data nor the positions set a length


class Embed(nn.Module):
    """Abstract base of embeddings: `x, ctx = embed(batch, ctx)`.

    Each has a field `width`, D, and if it reads ids a field `vocab`, their number. Each zeroes padding with `ctx.clean`
    before its norm, since a batch may hold anything there.
    whole_row: why it cannot embed rows that hold several texts, None where it can; see `xfm.structures.tokens`.
    """

    whole_row: ClassVar[str | None] = None

    @nn.nowrap
    def ids(self) -> dict[str, tuple[int, int]]:
        """The first legal id and the one after the last, for each array of a batch that is looked up in a table.

        Without a field `types` the only type is 0; where the field is None, only layers read types, in any number.
        """
        found = {}
        if getattr(self, "vocab", None) is not None:
            found["tokens"] = (0, self.vocab)
        if getattr(self, "types", 0) is not None:
            found["types"] = (0, max(getattr(self, "types", 0), 1))
        if bounds := [one for one in (position.bounds() for position in self._positions()) if one is not None]:
            found["positions"] = (max(first for first, _ in bounds), min(end for _, end in bounds))
        return found

    @nn.nowrap
    def most(self) -> int | None:
        """The largest number of tokens in a row, None for any number."""
        known = [limit for limit in (position.most() for position in self._positions()) if limit is not None]
        return min(known, default=None)

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array that the embedding needs for one row.

        length: tokens in the row; if None, as many as there are positions, or LENGTH where these have no bound.
        """
        return {"tokens": ((length or self.most() or LENGTH,), np.int32)}

    @nn.nowrap
    def _positions(self) -> list[nn.Module]:
        """The position parts that are added to the stream."""
        specs = [getattr(self, name) for name in ("position", "places") if hasattr(self, name)]
        return [build(POSITIONS, spec, parent=None) for spec in specs]
