"""SSD in chunks: a linear recurrence with one decay for each head, whose tokens have the weight dt.

Dao, Gu, "Transformers are SSMs" (2024), section 6.
"""

import jax.numpy as jnp

from ..chunks import VANISHED, chunk_length, runs, split, without_padding
from ..gla.scalar import scalar


def xla(x, dt, a, b, c, *, d=None, segments=None, state=None, chunk=256):
    """`ssd` in chunks of at most `chunk` tokens, for any platform.

    The operands of products have the dtype of x, and sums are float32; decays and the state are float32.
    """
    (B, T, N, H), (G, M) = x.shape, b.shape[2:]
    R, C = N // G, chunk_length(T, chunk)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    run = None
    if segments is not None:
        x, dt, b, c = without_padding(segments, x, dt, b, c)
        run = split(runs(segments), C, mode="edge")
    if state is not None:
        state = state.reshape(B, G, R, H, M)
    weight = split(dt.astype(wide), C, G, R)
    steps = jnp.maximum(weight * a.astype(wide).reshape(G, R, 1), VANISHED)
    q, k = (split(v.astype(x.dtype), C, G) for v in (c, b))
    y, last = scalar(q, k, split(x, C, G, R), steps, weight=weight, run=run, state=state)
    y = jnp.moveaxis(y, 4, 2).reshape(B, -1, N, H)[:, :T]
    if d is not None:
        y += d.astype(wide)[:, None] * x
    return y.astype(x.dtype), last.reshape(B, N, H, M)
