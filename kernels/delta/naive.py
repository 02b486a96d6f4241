"""The definition of the gated delta rule: the recurrence, one token after another.

Yang, Kautz, Hatamizadeh, "Gated Delta Networks" (2024), section 3.1; without decay it is Schlag, Irie, Schmidhuber,
"Linear Transformers Are Secretly Fast Weight Programmers" (2021), section 4.2.
"""

import jax
import jax.numpy as jnp


def naive(q, k, v, beta, *, log_decay=None, segments=None, state=None, scale=None, chunk=None):
    """S <- a S, then S <- S + beta (v - S k) k^T, then y = scale S q, token by token, in float32 (float64 if v is).

    Arguments as in `delta`; `chunk` is not used.
    """
    B, T, N, H = v.shape
    G, M = k.shape[2:]
    wide = jnp.promote_types(v.dtype, jnp.float32)
    S = jnp.zeros((B, N, H, M), wide) if state is None else state.astype(wide)
    segments = jnp.ones((B, T), jnp.int32) if segments is None else segments
    log_decay = jnp.zeros((B, T, N), wide) if log_decay is None else log_decay
    scale = M**-0.5 if scale is None else scale

    def token(carry, now):
        """The state after a token, and its y. Padding changes nothing, and a new segment starts from zero."""
        S, last = carry
        q, k, v, beta, log_decay, segment = now
        real = segment > 0
        given = (q, k, v, beta, log_decay)
        given = (jnp.where(real.reshape(B, *[1] * (a.ndim - 1)), a.astype(wide), 0) for a in given)
        q, k, v, beta, log_decay = given
        q, k = (jnp.repeat(a, N // G, axis=1) for a in (q, k))  # each group serves N / G heads
        fresh = real & (last > 0) & (segment != last)
        S = jnp.where(fresh[:, None, None, None], 0, S) * jnp.exp(log_decay)[..., None, None]
        written = beta[..., None] * (v - jnp.einsum("bnhm,bnm->bnh", S, k))
        S = S + jnp.einsum("bnh,bnm->bnhm", written, k)
        y = scale * jnp.einsum("bnhm,bnm->bnh", S, q)
        return (S, jnp.where(real, segment, last)), y

    over_time = tuple(jnp.moveaxis(a, 1, 0) for a in (q, k, v, beta, log_decay, segments))
    with jax.default_matmul_precision("highest"):
        (S, _), y = jax.lax.scan(token, (S, jnp.zeros(B, segments.dtype)), over_time)
    return jnp.moveaxis(y, 0, 1).astype(v.dtype), S
