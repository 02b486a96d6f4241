"""What an embedding says of itself, so that no other room reads its spec."""

from typing import Any, ClassVar

import flax.linen as nn
import numpy as np

from xfm.parts.position import POSITIONS
from xfm.spec import build

LENGTH = 512  # tokens of a row where neither the data nor the positions know


class Embed(nn.Module):
    """Abstract. `x, ctx = embed(batch, ctx)`, with a field `width`, D, and where it reads ids `vocab`, how many.

    It zeroes padding with `ctx.clean` before its norm, since a batch may hold anything there.
    whole_row: why rows that hold several texts are not for it, None where they are; see `xfm.structures.tokens`.
    """

    whole_row: ClassVar[str | None] = None

    @nn.nowrap
    def ids(self) -> dict[str, tuple[int, int]]:
        """Of each array of a batch that it looks up in a table: the first id, and the one after the last.

        Without a field `types` it has one type, 0; where the field is None, types are read by layers alone.
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
        """How many tokens a row may have, None for any number."""
        known = [limit for limit in (position.most() for position in self._positions()) if limit is not None]
        return min(known, default=None)

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array that it needs of one row.

        length: in tokens; if None, of as many as there are positions, or LENGTH where there are any number.
        """
        return {"tokens": ((length or self.most() or LENGTH,), np.int32)}

    @nn.nowrap
    def _positions(self) -> list[nn.Module]:
        """The positions that are added to the stream."""
        specs = [getattr(self, name) for name in ("position", "places") if hasattr(self, name)]
        return [build(POSITIONS, spec, parent=None) for spec in specs]
