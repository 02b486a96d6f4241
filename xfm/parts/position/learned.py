"""One learned vector per position. Gehring et al. 2017, section 3.1; Devlin et al. 2019."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.parts.param import param
from xfm.parts.position.base import Position


class Learned(Position):
    """x + table[first + position]. length: rows of the table; a longer text is an error, not a repetition.

    first: the row of position 0 (2 in RoBERTa, where rows 0 and 1 belong to no position).
    """

    length: Count
    first: CountOrZero = 0

    @nn.nowrap
    def bounds(self) -> tuple[int, int]:
        """The positions that have a row in the table, row `first` being that of position 0."""
        return -self.first, self.length - self.first

    @nn.compact
    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        T, D = x.shape[1:]
        end = self.first + T
        if end > self.length and ctx.positions is None:
            raise XfmError(
                f"rows have {T} tokens, the learned positions {self.length - self.first}; raise position.length"
            )
        table = param(self, "table", nn.initializers.normal(0.02), (self.length, D)).astype(x.dtype)
        if ctx.positions is None:
            return x + table[self.first : end]
        return x + jnp.take(table, self.first + ctx.positions, axis=0, mode="fill")
