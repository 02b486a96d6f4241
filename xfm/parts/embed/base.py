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
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and dtype of each array that it needs of one row.

        length: in tokens; if None, of as many as there are positions, or LENGTH where there are any number.
        """
        specs = [getattr(self, name) for name in ("position", "places") if hasattr(self, name)]
        limits = [build(POSITIONS, spec, parent=None).most() for spec in specs]
        known = [limit for limit in limits if limit is not None]
        return {"tokens": ((length or min(known, default=LENGTH),), np.int32)}
