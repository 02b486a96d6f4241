"""What recurrences over a row share that are computed in chunks: runs of segments, exact decays, and the walk.

Axes: B rows, T tokens, Z chunks of C tokens, N heads, in G groups of R, H values and M keys of a head.
"""

import jax
import jax.numpy as jnp

VANISHED = -128.0  # exp of it is 0 in float32, so smaller log-decays of a step are clipped to it


def runs(segments):
    """The index [B T], from 0, of the run of equal segment ids that each token is in.

    Padding (0) belongs to the run before it, or at the beginning to the first, since the state passes over it.
    """
    here = jnp.where(segments > 0, jnp.arange(segments.shape[1]), -1)
    last = jax.lax.cummax(here, axis=1)  # the position of the last real token up to here
    filled = jnp.where(last < 0, 0, jnp.take_along_axis(segments, jnp.maximum(last, 0), axis=1))
    before = jnp.pad(filled[:, :-1], ((0, 0), (1, 0)))
    return jnp.cumsum((before > 0) & (filled != before), axis=1, dtype=jnp.int32)


def without_padding(segments, *arrays):
    """The arrays [B T ...] with zeros where segments is 0; gradients are zero there as well."""
    real = segments > 0
    return tuple(jnp.where(real.reshape(*real.shape, *[1] * (v.ndim - 2)), v, 0) for v in arrays)


def cumulative(steps):
    """The cumulative sum of log-decays [... C] in [-128, 0], as two sums (coarse, fine) that add up to it.

    A single float32 sum of magnitude s would have an error of s/2^24 in every difference, and so in decays close to 1.
    The coarse part is rounded to a grid on which its sums and differences are exact; the fine part is so small that its
    rounding does not matter. Only the fine part has gradients.
    """
    grid = -VANISHED * (1 << (steps.shape[-1] - 1).bit_length()) / 2**24
    coarse = jax.lax.stop_gradient(jnp.round(steps / grid) * grid)
    return jnp.cumsum(coarse, axis=-1), jnp.cumsum(steps - coarse, axis=-1)


def chunk_length(length, chunk):
    """The length of chunks: `length` if that is at most `chunk`; else the smallest multiple of 8 with which as few
    chunks suffice as with `chunk`, but at most `chunk`.
    """
    if length <= chunk:
        return length
    count = -(-length // chunk)
    return min(chunk, -(-length // (8 * count)) * 8)


def power_of_two(length, chunk):
    """The largest power of two that is at most `chunk`, or the smallest that is at least `length`."""
    return min(1 << (chunk.bit_length() - 1), 1 << (length - 1).bit_length())


def split(v, C, *heads, mode="constant"):
    """An array [B T ...] as [B Z C ...], after the last token with zeros or, with mode "edge", with what it has.

    heads: sizes, such as G and R, into which the axis after T is divided; those axes then precede C.
    """
    B, T = v.shape[:2]
    v = jnp.pad(v, ((0, 0), (0, -T % C), *[(0, 0)] * (v.ndim - 2)), mode=mode)
    v = v.reshape(B, -1, C, *heads, *v.shape[2 + (len(heads) > 0) :])
    return jnp.moveaxis(v, 2, 2 + len(heads))


def reach(run):
    """For runs [B Z C]: which tokens belong to the run that enters their chunk, and which to the one that leaves it.

    Run 0 is the one that enters the first chunk, since it continues from the state before the row.
    """
    entry = jnp.pad(run[:, :-1, -1:], ((0, 0), (1, 0), (0, 0)))
    return run == entry, run == run[..., -1:]


def gap(v):
    """v_i - v_j [... C C] of an array [... C]."""
    return v[..., :, None] - v[..., None, :]


def between(kept, given, state):
    """The state before each chunk [B Z ... H M], and the last state [B ... H M], of h <- kept h + given.

    kept: the decay of each chunk, to broadcast to given.  given: what its tokens add.  state: before the first chunk.
    """

    def chunk(h, now):
        kept, given = now
        return kept * h + given, h

    last, entry = jax.lax.scan(chunk, state, (jnp.moveaxis(kept, 1, 0), jnp.moveaxis(given, 1, 0)))
    return jnp.moveaxis(entry, 0, 1), last
