"""A learned score for each head and bucket of distance. Raffel et al. 2020 (T5), section 2.1."""

from typing import Any

import flax.linen as nn

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import Buckets
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.spec import SpecError


class RelativeBuckets(Position):
    """A learned bias on scores for each head and bucket of distances.

    buckets: their number.  reach: distance from which on there is one bucket.  sides: 2, or 1 for causal models.
    heads: N, needed where the layers of a stack share one table.
    """

    buckets: Count = 32
    reach: Count = 128
    sides: Count = 2
    heads: Count | None = None

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> Buckets:
        table = param(self, "table", nn.initializers.normal(0.02), (self.buckets, heads))
        return Buckets(table, self.reach, self.sides)

    def share(self, ctx: Context) -> dict[str, Any]:
        if self.heads is None:
            raise SpecError("position 'relative_buckets' of a stack needs heads, the number of its layers' attention")
        return {"bias": self.bias(self.heads, ctx)}
