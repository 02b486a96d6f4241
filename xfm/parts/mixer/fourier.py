"""Mixing without parameters: the real part of the two-dimensional discrete Fourier transform.

Lee-Thorp, Ainslie, Eckstein, Ontanon, "FNet: Mixing Tokens with Fourier Transforms", 2021, section 3.2.

The paper transforms a whole row, padding included. This part does the same, by the fast transform, where the context
has no segments. Where it has segments, each is transformed by itself, as if it were a row of its own length; a row then
costs T², as in attention, since the lengths are known only when the program runs.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.kernels.platform import product
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.texts import positions_and_lengths


def fourier(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """y_td = Re sum_s sum_e x_se exp(-2πi (t s / T + d e / D)), in float32."""
    return jnp.fft.fft2(x.astype(jnp.float32), axes=(1, 2)).real


def fourier_of_segments(x: Float[Array, "B T D"], segments: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    """`fourier` of each segment by itself; padding (segment 0) is left out and gets zeros.

    If z is the transform along D, the real part of its transform along T is cos · Re z + sin · Im z.
    """
    real = (segments > 0)[..., None]
    z = jnp.fft.fft(jnp.where(real, x, 0).astype(jnp.float32), axis=-1)
    own = (segments[:, :, None] == segments[:, None, :]) & real
    position, length = positions_and_lengths(segments)
    turns = (position[:, :, None] * position[:, None, :]) % length[:, :, None]  # integers, so that angles are exact
    angle = 2 * jnp.pi * turns / length[:, :, None]
    cos, sin = jnp.where(own, jnp.cos(angle), 0), jnp.where(own, jnp.sin(angle), 0)
    return product("bts,bsd->btd", cos, z.real) + product("bts,bsd->btd", sin, z.imag)


class Fourier(nn.Module):
    """`fourier` of the row, or of each of its segments; it has no parameters."""

    whole_row: ClassVar[str | None] = "transforms a whole row, and each of several texts at the cost of a whole row"
    mixes_all: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("fourier", ctx, state)
        ctx.refuse_heard("mixer 'fourier'")
        y = fourier(x) if ctx.segments is None else fourier_of_segments(x, ctx.segments)
        return y.astype(x.dtype), None
