"""A learned score for each head and bucket of distance. Raffel et al. 2020 (T5), section 2.1."""

import flax.linen as nn

from xfm.context import Context
from xfm.kernels.attention import Buckets
from xfm.parts.position.base import Position


class RelativeBuckets(Position):
    """buckets: in all.  reach: distance from which on all is one bucket.  sides: 2, or 1 for causal models."""

    buckets: int = 32
    reach: int = 128
    sides: int = 2

    @nn.compact
    def bias(self, heads: int, ctx: Context) -> Buckets:
        table = self.param("table", nn.initializers.normal(0.02), (self.buckets, heads))
        return Buckets(table, self.reach, self.sides)
