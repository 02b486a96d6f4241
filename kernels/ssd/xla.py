"""SSD in chunks: matrix products within chunks, and a short scan over the chunks.

Dao, Gu, "Transformers are SSMs" (2024), section 6 and listing 1. Differences from the listing: there are segments; b
and c are not repeated for the heads of a group; dt is multiplied into the weights, so that bfloat16 inputs are rounded
only once; and differences of the cumulative log-decay are exact (see `cumulative`).
"""

import jax
import jax.numpy as jnp

from ..platform import product

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


@jax.checkpoint  # the arrays [C C] of every head are recomputed in the backward pass instead of stored
def within(x, dt, b, c, coarse, fine, run):
    """The part of y [B Z G R C H] that comes from tokens of the same chunk.

    x [B Z G R C H], b and c [B Z G C M], dt and the sums of `cumulative` [B Z G R C], run [B Z C].
    """

    def gap(v):
        return v[..., :, None] - v[..., None, :]

    visible = jnp.tril(jnp.ones((x.shape[-2],) * 2, bool))
    if run is not None:
        visible = visible & (gap(run) == 0)[:, :, None, None]
    decay = jnp.exp(jnp.where(visible, gap(coarse) + gap(fine), -jnp.inf))
    scores = product("bzgim,bzgjm->bzgij", c, b, dt.dtype)
    weights = (scores[:, :, :, None] * decay * dt[..., None, :]).astype(x.dtype)
    return product("bzgrij,bzgrjh->bzgrih", weights, x, dt.dtype)


def between(kept, given, state):
    """The state before each chunk [B Z G R H M], and the last state [B G R H M], of h <- kept h + given.

    kept: the decay of each chunk.  given: what its tokens add.  state: before the first chunk.
    """

    def chunk(h, now):
        kept, given = now
        return kept[..., None, None] * h + given, h

    over_chunks = (jnp.moveaxis(kept, 1, 0), jnp.moveaxis(given, 1, 0))
    last, entry = jax.lax.scan(chunk, state, over_chunks)
    return jnp.moveaxis(entry, 0, 1), last


def xla(x, dt, a, b, c, *, d=None, segments=None, state=None, chunk=256):
    """`ssd` in chunks of at most `chunk` tokens, for any platform.

    The operands of products have the dtype of x, and sums are float32; decays and the state are float32.
    """
    B, T, N, H = x.shape
    G, M = b.shape[2:]
    R = N // G
    C = chunk_length(T, chunk)
    Z = -(-T // C)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    run = None
    if segments is not None:
        x, dt, b, c = without_padding(segments, x, dt, b, c)
        run = runs(segments)

    def chunks(v, *heads):
        """An array [B T N ...] as [B Z G R C ...], with zeros after the last token."""
        v = jnp.pad(v, ((0, 0), (0, Z * C - T), *[(0, 0)] * (v.ndim - 2)))
        v = v.reshape(B, Z, C, *heads, *v.shape[3:])
        return jnp.moveaxis(v, 2, 2 + len(heads))

    x_BZGRCH, dt_BZGRC = chunks(x, G, R), chunks(dt.astype(wide), G, R)
    b_BZGCM, c_BZGCM = (chunks(v.astype(x.dtype), G) for v in (b, c))
    steps = jnp.maximum(dt_BZGRC * a.astype(wide).reshape(G, R, 1), VANISHED)
    coarse, fine = cumulative(steps)
    since_entry, until_exit = coarse + fine, coarse[..., -1:] - coarse + (fine[..., -1:] - fine)
    if run is not None:
        run = jnp.pad(run, ((0, 0), (0, Z * C - T)), mode="edge").reshape(B, Z, C)
        entry = jnp.pad(run[:, :-1, -1:], ((0, 0), (1, 0), (0, 0)))  # run 0 continues from `state`
        since_entry = jnp.where((run == entry)[:, :, None, None], since_entry, -jnp.inf)
        until_exit = jnp.where((run == run[..., -1:])[:, :, None, None], until_exit, -jnp.inf)
    since_entry, until_exit = jnp.exp(since_entry), jnp.exp(until_exit)

    y_BZGRCH = within(x_BZGRCH, dt_BZGRC, b_BZGCM, c_BZGCM, coarse, fine, run)
    leaving = (x_BZGRCH * (until_exit * dt_BZGRC)[..., None]).astype(x.dtype)
    given = product("bzgrjh,bzgjm->bzgrhm", leaving, b_BZGCM, wide)
    if Z == 1 and state is None:
        last = given[:, 0]
    else:
        first = jnp.zeros((B, N, H, M)) if state is None else state
        entry, last = between(since_entry[..., -1], given, first.astype(wide).reshape(B, G, R, H, M))
        entry = entry.astype(x.dtype)
        carried = product("bzgim,bzgrhm->bzgrih", c_BZGCM, entry, wide)
        y_BZGRCH += carried * since_entry[..., None]
    y = jnp.moveaxis(y_BZGRCH, 4, 2).reshape(B, Z * C, N, H)[:, :T]
    if d is not None:
        y += d.astype(wide)[:, None] * x
    return y.astype(x.dtype), last.reshape(B, N, H, M)
