"""The definition of gated linear attention: the recurrence, one token after another.

Yang, Wang, Shen, Panda, Kim, "Gated Linear Attention Transformers with Hardware-Efficient Training" (2023), equation 3.
"""

import jax
import jax.numpy as jnp


def naive(q, k, v, log_decay=None, *, scale, segments=None, state=None, chunk=None):
    """S <- S diag(a) + v k^T, then y = scale S q, token by token, in float32 (float64 if v is).

    Arguments as in `gla`; `chunk` is not used.
    """
    (B, T, N, H), (G, M) = v.shape, q.shape[2:]
    wide = jnp.promote_types(v.dtype, jnp.float32)
    s = jnp.zeros((B, N, H, M), wide) if state is None else state.astype(wide)
    segments = jnp.ones((B, T), jnp.int32) if segments is None else segments
    log_decay = jnp.zeros(N) if log_decay is None else log_decay
    log_decay = log_decay[..., None] if log_decay.ndim != 4 else log_decay  # [N 1], [B T N 1] or [B T N M]
    log_decay = jnp.broadcast_to(log_decay, (B, T, N, log_decay.shape[-1]))

    def token(carry, now):
        """The state after a token, and its y. Padding changes nothing, and a new segment starts from zero."""
        s, last = carry
        *now, segment = now
        real = segment > 0
        q, k, v, log_decay = (jnp.where(real[:, None, None], array.astype(wide), 0) for array in now)
        q, k = (jnp.repeat(array, N // G, axis=1) for array in (q, k))  # each group serves N / G heads
        fresh = real & (last > 0) & (segment != last)
        s = jnp.where(fresh[:, None, None, None], 0, s)
        s = s * jnp.exp(log_decay)[:, :, None, :] + v[..., :, None] * k[..., None, :]
        return (s, jnp.where(real, segment, last)), scale * jnp.einsum("bnhm,bnm->bnh", s, q)

    over_time = tuple(jnp.moveaxis(array, 1, 0) for array in (q, k, v, log_decay, segments))
    with jax.default_matmul_precision("highest"):
        (s, _), y = jax.lax.scan(token, (s, jnp.zeros(B, segments.dtype)), over_time)
    return jnp.moveaxis(y, 0, 1).astype(v.dtype), s
