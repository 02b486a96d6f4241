"""One learned vector for each distance, or bucket of distances, for all layers.

He et al. 2021 (DeBERTa), section 3.1; the logarithmic buckets are those of its second version.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.spec import Spec, SpecError, build


def row(distance: Int[np.ndarray, " n"], span: int, reach: int | None) -> Int[np.ndarray, " n"]:
    """The row of a table of 2 · span that stands for each distance t - s, row `span` being that of distance 0.

    Without a reach each distance has a row of its own. With a reach, distances up to span // 2 have their own, and
    those below `reach` share the other rows in steps that grow geometrically. Distances outside take the last row of
    their side.
    """
    if reach is not None:
        half = span // 2
        far = np.maximum(np.abs(distance), half).astype(np.float32) / np.float32(half)
        steps = np.log(far) / np.log(np.float32((reach - 1) / half)) * np.float32(half - 1)
        bucket = np.sign(distance) * (half + np.ceil(steps).astype(np.int64))
        distance = np.where(np.abs(distance) <= half, distance, bucket)
    return np.clip(span + distance, 0, 2 * span - 1)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["table"], meta_fields=["reach"])
@dataclasses.dataclass(frozen=True)
class Distances:
    """What layers find in ctx.relative as "relative": the table, and the row of it for each distance."""

    table: Float[Array, "rows D"]
    reach: int | None

    def rows(self, length: int) -> Int[np.ndarray, " 2*length-1"]:
        """The table's rows for the distances 1 - length to length - 1, all those in a row of `length` tokens."""
        return row(np.arange(1 - length, length), self.table.shape[0] // 2, self.reach).astype(np.int32)


class RelativeTable(Position):
    """Shares `Distances` as "relative", which disentangled attention reads.

    span: rows of the table on either side of distance 0.  width: D.  reach: distance from which on there is one
    bucket, the buckets being logarithmic; None for a row per distance.  norm: of each row, none if None.
    """

    span: Count
    width: Count
    reach: Count | None = None
    norm: Spec | None = None

    @nn.compact
    def share(self, ctx: Context) -> dict[str, Any]:
        if self.reach is not None and not 2 <= self.span <= 2 * (self.reach - 2):
            raise SpecError(f"relative_table: a span of {self.span} does not fit a reach of {self.reach} in buckets")
        table = param(self, "table", nn.initializers.normal(0.02), (2 * self.span, self.width)).astype(ctx.dtype)
        if self.norm is not None:
            table = build(NORMS, self.norm, name="norm")(table)
        return {"relative": Distances(table, self.reach)}
