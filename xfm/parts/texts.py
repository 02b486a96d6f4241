"""The position of each token in its own text, for parts that cut texts into pieces; linear in length but for a sort."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


def positions_and_lengths(segments: Int[Array, "B T"]) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
    """For each token, how many of its segment are before it and how many there are in all; padding is one segment.

    Segments may be interrupted by padding or by each other: 1 2 2 0 1 -> positions 0 0 1 0 1, lengths 2 2 2 1 2.
    """
    T = segments.shape[1]
    order = jnp.argsort(segments, axis=1, stable=True)
    sorted_ = jnp.take_along_axis(segments, order, axis=1)
    index = jnp.broadcast_to(jnp.arange(T), segments.shape)
    starts = jnp.diff(sorted_, axis=1, prepend=sorted_[:, :1] - 1) != 0
    first = jax.lax.cummax(jnp.where(starts, index, 0), axis=1)
    ends = jnp.diff(sorted_, axis=1, append=sorted_[:, -1:] + 1) != 0
    last = jax.lax.cummin(jnp.where(ends, index, T), axis=1, reverse=True)
    back = jnp.argsort(order, axis=1)
    return tuple(jnp.take_along_axis(a, back, axis=1) for a in (index - first, last - first + 1))
