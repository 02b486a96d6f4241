"""The state-space dual recurrence in chunks: matrix products inside, a short scan between them.

Dao, Gu, "Transformers are SSMs" (2024), section 6 and listing 1. What differs from the listing:
segments; groups are never repeated to heads; dt enters the weights, so that bfloat16 inputs are
rounded once; and differences of the cumulative log-decay are exact (`cumulative`).
"""

import jax
import jax.numpy as jnp

from ..platform import product

VANISHED = -128.0  # exp of it is 0 in float32, so a step's log-decay below it says no more


def runs(segments):
    """[B T] segment ids -> [B T] index of the run of equal ids a token is in, counted from 0.

    Padding (0) belongs to the run before it, leading padding to the first: a state passes over it.
    """
    here = jnp.where(segments > 0, jnp.arange(segments.shape[1]), -1)
    seen = jax.lax.cummax(here, axis=1)  # the place of the last real token so far
    filled = jnp.where(seen < 0, 0, jnp.take_along_axis(segments, jnp.maximum(seen, 0), axis=1))
    before = jnp.pad(filled[:, :-1], ((0, 0), (1, 0)))
    return jnp.cumsum((before > 0) & (filled != before), axis=1, dtype=jnp.int32)


def without_padding(segments, *arrays):
    """Each [B T ...] array with zeros where segments is 0, in values and in gradients."""
    real = segments > 0
    return tuple(jnp.where(real.reshape(*real.shape, *[1] * (v.ndim - 2)), v, 0) for v in arrays)


def cumulative(steps):
    """[... C] log-decays in [-128, 0] -> (coarse, fine), two cumulative sums that add up to theirs.

    One float32 sum of magnitude s carries an error of s/2^24 into every difference, hence into
    decays close to 1. The coarse part is on a grid wide enough for its sums and differences to be
    exact; the fine part stays so small that its rounding does not matter. Gradients flow through
    the fine part alone.
    """
    grid = -VANISHED * (1 << (steps.shape[-1] - 1).bit_length()) / 2**24
    coarse = jax.lax.stop_gradient(jnp.round(steps / grid) * grid)
    return jnp.cumsum(coarse, axis=-1), jnp.cumsum(steps - coarse, axis=-1)


def chunk_length(length, chunk):
    """The least multiple of 8 that covers `length` in as few chunks as `chunk` allows.

    `length` itself where one chunk does; never more than `chunk`.
    """
    if length <= chunk:
        return length
    count = -(-length // chunk)
    return min(chunk, -(-length // (8 * count)) * 8)


@jax.checkpoint  # the [C C] arrays of every head are made again in the backward pass, not kept
def within(x, dt, b, c, coarse, fine, run):
    """y [B Z G R C H] of what the tokens of a chunk give one another.

    x [B Z G R C H], b and c [B Z G C M], dt and the sums of `cumulative` [B Z G R C], run [B Z C].
    """

    def gap(v):
        return v[..., :, None] - v[..., None, :]

    seen = jnp.tril(jnp.ones((x.shape[-2],) * 2, bool))
    if run is not None:
        seen = seen & (gap(run) == 0)[:, :, None, None]
    decay = jnp.exp(jnp.where(seen, gap(coarse) + gap(fine), -jnp.inf))
    scores = product("bzgim,bzgjm->bzgij", c, b, dt.dtype)
    weights = (scores[:, :, :, None] * decay * dt[..., None, :]).astype(x.dtype)
    return product("bzgrij,bzgrjh->bzgrih", weights, x, dt.dtype)


def between(kept, given, state):
    """States before each chunk [B Z G R H M] and the last [B G R H M] of h <- kept h + given."""

    def chunk(h, now):
        kept, given = now
        return kept[..., None, None] * h + given, h

    over_chunks = (jnp.moveaxis(kept, 1, 0), jnp.moveaxis(given, 1, 0))
    last, entry = jax.lax.scan(chunk, state, over_chunks)
    return jnp.moveaxis(entry, 0, 1), last


def xla(x, dt, a, b, c, *, d=None, segments=None, state=None, chunk=256):
    """`ssd` in chunks of at most `chunk` tokens, for any platform.

    Products take the dtype of x and accumulate in float32; decays and the state are float32.
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
        """[B T N ...] -> [B Z G R C ...], with zeros behind the last token."""
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
        entry = jnp.pad(run[:, :-1, -1:], ((0, 0), (1, 0), (0, 0)))  # run 0 goes on from `state`
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
