"""Gated linear attention in chunks: matrix products within chunks, and a short scan over the chunks."""

import jax.numpy as jnp

from ..chunks import VANISHED, chunk_length, power_of_two, runs, split, without_padding
from .channel import channel
from .scalar import scalar


def xla(q, k, v, log_decay=None, *, scale, segments=None, state=None, chunk=64):
    """`gla` in chunks of at most `chunk` tokens, for any platform.

    The operands of products have the dtype of v, and sums are float32; decays and the state are float32.
    """
    (B, T, N, H), (G, M) = v.shape, q.shape[2:]
    wide = jnp.promote_types(v.dtype, jnp.float32)
    by_channel = log_decay is not None and log_decay.ndim == 4
    C = power_of_two(T, chunk) if by_channel else chunk_length(T, chunk)
    q, k = q.astype(v.dtype), k.astype(v.dtype)
    if log_decay is not None:
        log_decay = jnp.maximum(log_decay.astype(wide), VANISHED)
        log_decay = jnp.broadcast_to(log_decay, (1, T, N)) if log_decay.ndim == 1 else log_decay
    run = None
    if segments is not None:
        q, k, v = without_padding(segments, q, k, v)
        if log_decay is not None:
            log_decay = jnp.where(segments.reshape(B, T, *[1] * (log_decay.ndim - 2)) > 0, log_decay, 0)
        run = split(runs(segments), C, mode="edge")

    if by_channel:
        q, k = (jnp.repeat(array, N // G, axis=2) for array in (q, k))
        arrays = (split(array, C, N) for array in (q, k, v, log_decay))
        y, last = channel(*arrays, run=run, state=state)
        y = jnp.moveaxis(y, 3, 2)
    else:
        R = N // G
        state = None if state is None else state.reshape(B, G, R, H, M)
        steps = None if log_decay is None else split(log_decay, C, G, R)
        y, last = scalar(split(q, C, G), split(k, C, G), split(v, C, G, R), steps, run=run, state=state)
        y = jnp.moveaxis(y, 4, 2)
    y = y.reshape(B, -1, N, H)[:, :T] * scale
    return y.astype(v.dtype), last.reshape(B, N, H, M)
