"""Mixing without parameters: the real part of the two-dimensional discrete Fourier transform.

Lee-Thorp, Ainslie, Eckstein, Ontanon, "FNet: Mixing Tokens with Fourier Transforms", 2021, section 3.2.

The paper knows no padding: it transforms a whole row, whatever stands in it. So does this part where the context has
no segments, by the fast transform. Where it has, each segment is transformed by itself, as if it stood alone in a row
of its own length; rows then cost T² as attention does, since the lengths are known only when the program runs.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.kernels.platform import product
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.texts import places_and_lengths


def fourier(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """y_td = Re sum_s sum_e x_se exp(-2πi (t s / T + d e / D)), in float32."""
    return jnp.fft.fft2(x.astype(jnp.float32), axes=(1, 2)).real


def fourier_of_segments(x: Float[Array, "B T D"], segments: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    """`fourier` of each segment by itself; padding (0) does not count and gets zeros.

    Of the transform along D, z, the real part of the one along T is cos · Re z + sin · Im z.
    """
    real = (segments > 0)[..., None]
    z = jnp.fft.fft(jnp.where(real, x, 0).astype(jnp.float32), axis=-1)
    own = (segments[:, :, None] == segments[:, None, :]) & real
    place, length = places_and_lengths(segments)
    turns = (place[:, :, None] * place[:, None, :]) % length[:, :, None]  # whole numbers, so that angles stay exact
    angle = 2 * jnp.pi * turns / length[:, :, None]
    cos, sin = jnp.where(own, jnp.cos(angle), 0), jnp.where(own, jnp.sin(angle), 0)
    return product("bts,bsd->btd", cos, z.real) + product("bts,bsd->btd", sin, z.imag)


class Fourier(nn.Module):
    """`fourier` of the row, or of each of its segments; it has no parameters."""

    whole_row: ClassVar[str | None] = "transforms a whole row, and of several texts each with the cosines of a row"
    mixes_all: ClassVar[bool] = True

    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("fourier", ctx, state)
        ctx.refuse_heard("mixer 'fourier'")
        y = fourier(x) if ctx.segments is None else fourier_of_segments(x, ctx.segments)
        return y.astype(x.dtype), None
