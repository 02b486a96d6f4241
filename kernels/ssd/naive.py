"""The definition of SSD: the recurrence, one token after another.

Dao, Gu, "Transformers are SSMs" (2024), equations 1-2 with the scalar decay of section 5, and the discretisation
exp(dt a), dt b of Mamba (Gu, Dao 2023, section 3.2).
"""

import jax
import jax.numpy as jnp


def naive(x, dt, a, b, c, *, d=None, segments=None, state=None, chunk=None):
    """h <- exp(dt a) h + dt x b^T, then y = h c + d x, token by token, in float32 (float64 if x is).

    Arguments as in `ssd`; `chunk` is not used.
    """
    B, T, N, H = x.shape
    G, M = b.shape[2:]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    h = jnp.zeros((B, N, H, M), wide) if state is None else state.astype(wide)
    segments = jnp.ones((B, T), jnp.int32) if segments is None else segments
    skip = jnp.zeros(N, wide) if d is None else d.astype(wide)

    def token(carry, now):
        """The state after a token, and its y. Padding changes nothing, and a new segment starts from zero."""
        h, last = carry
        x, dt, b, c, segment = now
        real = segment > 0
        x, dt, b, c = (jnp.where(real.reshape(B, *[1] * (v.ndim - 1)), v.astype(wide), 0) for v in (x, dt, b, c))
        b, c = (jnp.repeat(v, N // G, axis=1) for v in (b, c))  # each group serves N / G heads
        fresh = real & (last > 0) & (segment != last)
        h = jnp.where(fresh[:, None, None, None], 0, h)
        h = jnp.exp(dt * a)[..., None, None] * h + jnp.einsum("bn,bnh,bnm->bnhm", dt, x, b)
        y = jnp.einsum("bnhm,bnm->bnh", h, c) + skip[:, None] * x
        return (h, jnp.where(real, segment, last)), y

    a = a.astype(wide)
    over_time = tuple(jnp.moveaxis(v, 1, 0) for v in (x, dt, b, c, segments))
    with jax.default_matmul_precision("highest"):
        (h, _), y = jax.lax.scan(token, (h, jnp.zeros(B, segments.dtype)), over_time)
    return jnp.moveaxis(y, 0, 1).astype(x.dtype), h
