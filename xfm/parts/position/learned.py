"""One learned vector per place. Gehring et al. 2017, section 3.1; Devlin et al. 2019."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.position.base import Position


class Learned(Position):
    """x + table[position]. length: places in the table; a longer row is an error, not a repetition."""

    length: int

    @nn.compact
    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        T, D = x.shape[1:]
        if T > self.length and ctx.positions is None:
            raise XfmError(f"rows have {T} tokens, the learned positions {self.length}; raise position.length")
        table = self.param("table", nn.initializers.normal(0.02), (self.length, D)).astype(x.dtype)
        return x + (table[:T] if ctx.positions is None else jnp.take(table, ctx.positions, axis=0, mode="fill"))
