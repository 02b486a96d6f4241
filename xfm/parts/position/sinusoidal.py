"""Fixed sines and cosines of geometrically spaced frequencies. Vaswani et al. 2017, section 3.5."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
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


def interleaved(count: int, width: int, base: float = 10_000.0) -> Float[np.ndarray, "count width"]:
    """The sine and the cosine of each frequency side by side, for positions 0 to count - 1, computed in float64."""
    angles = np.arange(count)[:, None] * float(base) ** (-np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(count, width).astype(np.float32)


class Sinusoidal(Position):
    """x + sinusoids(position); needs an even width.

    channels: "halves" as in `sinusoids`, or "interleaved" as in the paper.
    """

    base: Positive = 10_000.0
    channels: Literal["halves", "interleaved"] = "halves"

    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        if self.channels == "interleaved" and ctx.positions is None:
            return x + jnp.asarray(interleaved(x.shape[1], x.shape[-1], self.base), x.dtype)
        rows = sinusoids(positions(x, ctx), x.shape[-1], self.base)
        if self.channels == "interleaved":
            rows = jnp.stack(jnp.split(rows, 2, axis=-1), axis=-1).reshape(rows.shape)
        return x + rows.astype(x.dtype)
