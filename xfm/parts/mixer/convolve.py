"""Convolutions along a row that stay within segments, for mixers that need one."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Segments = Int[Array, "B T"] | None


def convolve(
    x: Float[Array, "B T *any"], taps: Float[Array, "W *weights"], segments: Segments = None
) -> Float[Array, "B T *any"]:
    """y_t = sum_w taps_w x_{t + w - W // 2}, in float32; each of the W taps broadcasts against x.

    Places outside the row, of padding (0) and of another segment than t count as zero, whatever they hold.
    """
    W, T = taps.shape[0], x.shape[1]
    room = (W // 2, W - 1 - W // 2)
    if segments is not None:
        x = jnp.where(_wide(segments > 0, x), x, 0)
        around = jnp.pad(segments, ((0, 0), room))
    padded = jnp.pad(x.astype(jnp.float32), ((0, 0), room, *[(0, 0)] * (x.ndim - 2)))
    y = jnp.zeros(x.shape, jnp.float32)
    for w in range(W):
        near = padded[:, w : w + T]
        if segments is not None:
            near = jnp.where(_wide(around[:, w : w + T] == segments, x), near, 0)
        y += taps[w].astype(jnp.float32) * near
    return y


def _wide(mask, x):
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
