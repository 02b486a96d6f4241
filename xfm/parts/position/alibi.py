"""ALiBi: attention scores fall linearly with distance, with a slope for each head.

Press, Smith, Lewis 2022, section 3. Symmetric in distance, which is what encoders use (Portes et al. 2023, MosaicBERT,
section 2.1); under a causal mask only the past half has an effect, which is the original form.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.kernels.attention import Slopes
from xfm.parts.position.base import Position


def slopes(heads: int) -> Float[Array, "N"]:
    """2^(-8 i / N), i = 1 … N; where N is no power of two, those of the power below and every other one of the next."""
    below = 2 ** int(math.log2(heads))
    series = {n: [2 ** (-8 * i / n) for i in range(1, n + 1)] for n in (below, 2 * below)}
    return jnp.array(series[below] + series[2 * below][::2][: heads - below])


class Alibi(Position):
    """A bias on scores: minus the distance times a slope for each head."""

    def bias(self, heads: int, ctx: Context) -> Slopes:
        return Slopes(slopes(heads))
