"""The definition of the convolutions: each token gathers its W neighbours by index, in float32 or float64."""

import jax
import jax.numpy as jnp


def gathered(x, width, segments, before, tail, tail_segment):
    """The neighbours [B T W ...]: number w of token t is at t - before + w, in the tail if that is negative.

    Neighbours that do not exist, or are in padding or another segment, are zero.
    """
    B, T = x.shape[:2]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    ids = jnp.ones((B, T), jnp.int32) if segments is None else segments
    if tail is None:
        tail, held = jnp.zeros((B, 0, *x.shape[2:]), wide), jnp.zeros((B, 0), ids.dtype)
    else:
        of_tail = jnp.ones(B, ids.dtype) if tail_segment is None else tail_segment
        held = jnp.broadcast_to(of_tail[:, None], tail.shape[:2])
    row, owner = jnp.concatenate([tail.astype(wide), x.astype(wide)], axis=1), jnp.concatenate([held, ids], axis=1)
    index = jnp.arange(T)[:, None] - before + jnp.arange(width) + tail.shape[1]
    exists = (index >= 0) & (index < row.shape[1])
    index = jnp.clip(index, 0, row.shape[1] - 1)
    own = exists & (owner[:, index] == ids[:, :, None]) & (ids[:, :, None] > 0)
    return jnp.where(own.reshape(*own.shape, *[1] * (x.ndim - 2)), row[:, index], 0)


def depthwise(x, kernel, *, bias, segments, before, tail, tail_segment):
    """`depthwise` of the package, for checked arguments."""
    near = gathered(x, kernel.shape[0], segments, before, tail, tail_segment)
    taps = jnp.stack([jnp.broadcast_to(tap, x.shape) for tap in kernel], axis=2).astype(near.dtype)
    y = (taps * near).sum(axis=2)
    return (y if bias is None else y + bias.astype(near.dtype)).astype(x.dtype)


def grouped(x, kernel, *, bias, segments, before, tail, tail_segment):
    """`grouped` of the package, for checked arguments."""
    near = gathered(x, kernel.shape[0], segments, before, tail, tail_segment)
    W, inside, O = kernel.shape
    groups = x.shape[2] // inside
    near = near.reshape(*near.shape[:3], groups, inside)
    with jax.default_matmul_precision("highest"):
        y = jnp.einsum("btwgi,wigo->btgo", near, kernel.reshape(W, inside, groups, O // groups).astype(near.dtype))
    y = y.reshape(*x.shape[:2], O)
    return (y if bias is None else y + bias.astype(near.dtype)).astype(x.dtype)


def depthwise_grid(x, kernel, *, segments):
    """`depthwise_grid` of the package, for checked arguments and without a bias."""
    (B, h, w, C), (p, q) = x.shape, kernel.shape[:2]
    wide = jnp.promote_types(x.dtype, jnp.float32)
    ids = (jnp.ones((B, h, w), jnp.int32) if segments is None else segments).reshape(B, h * w)
    row, column = jnp.divmod(jnp.arange(h * w), w)
    rows = row[:, None] + (jnp.arange(p * q) // q - p // 2)
    columns = column[:, None] + (jnp.arange(p * q) % q - q // 2)
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    index = jnp.where(inside, rows * w + columns, 0)
    own = inside & (ids[:, index] == ids[:, :, None]) & (ids[:, :, None] > 0)
    near = jnp.where(own[..., None], x.reshape(B, h * w, C).astype(wide)[:, index], 0)
    y = (near * kernel.reshape(p * q, C).astype(wide)).sum(axis=2)
    return y.reshape(x.shape).astype(x.dtype)
