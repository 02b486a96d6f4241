"""Fixed sines and cosines of geometrically spaced frequencies. Vaswani et al. 2017, section 3.5."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Positive
from xfm.parts.position.base import Position, positions


def sinusoids(position: Int[Array, "*any"], width: int, base: float = 10_000.0) -> Float[Array, "*any width"]:
    """sin(p / base^(2i / width)) in the first half of the channels, the cosines in the second.

    The paper interleaves the two, a fixed permutation of the channels that the first linear map can undo.
    """
    frequencies = base ** (-jnp.arange(0, width, 2) / width)
    angles = position[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Sinusoidal(Position):
    """x + sinusoids(position); needs an even width."""

    base: Positive = 10_000.0

    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        return x + sinusoids(positions(x, ctx), x.shape[-1], self.base).astype(x.dtype)
