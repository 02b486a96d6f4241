"""The gated delta rule in chunks: matrix products within chunks, and a scan of the state over the chunks.

Yang, Wang, Zhang, Shen, Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (2024),
section 3.2, and Yang, Kautz, Hatamizadeh, "Gated Delta Networks" (2024), section 3.3: in a chunk whose first state is
S_0, the written vectors u_i = beta_i (v_i - a_i S_{i-1} k_i) solve the triangular system

    u_i + beta_i sum_{j < i} exp(g_i - g_j) (k_i . k_j) u_j = beta_i (v_i - exp(g_i) S_0 k_i),

where g is the cumulative log-decay of the chunk. Differences from the papers: there are segments; q and k are not
repeated for the heads of a group; the system is inverted by blocks of doubling size; and differences of g are exact.
"""

import jax
import jax.numpy as jnp

from ..chunks import VANISHED, chunk_length, cumulative, runs, without_padding
from ..platform import product

# Chunks whose systems are solved at the same time. On two cores of a CPU, with 8 heads of 64 over 4,096 tokens, 64 at
# once took a training step 441 ms and 233 MiB, 16 took 411 ms and 95 MiB, 4 took 358 ms and 50 MiB, and 1 took 324 ms
# and 48 MiB; accelerators need many at once.
SPAN = 8


@jax.custom_vjp
def inverse(lower):
    """(I + L)^-1 of strictly lower triangular matrices L [... C C], by blocks of doubling size.

    If X inverts the blocks of size s on the diagonal, then X - X L_s X inverts those of size 2 s, where L_s holds the
    blocks of L that join the two halves of each; only the blocks that differ from zero are formed. No power of L is
    taken: where keys are alike, powers exceed what float32 can cancel, although the inverse is bounded.
    """
    *lead, C, _ = lower.shape
    padded = 1 << (C - 1).bit_length()
    lower = jnp.pad(lower, [(0, 0)] * len(lead) + [(0, padded - C)] * 2)
    X, size = jnp.ones((*lead, padded, 1, 1), lower.dtype), 1
    while size < padded:
        pairs = padded // (2 * size)
        joins = lower.reshape(*lead, pairs, 2, size, pairs, 2, size)[..., :, 1, :, :, 0, :]
        joins = jnp.moveaxis(jnp.diagonal(joins, axis1=-4, axis2=-2), -1, -3)
        halves = X.reshape(*lead, pairs, 2, size, size)
        upper, below = halves[..., 0, :, :], halves[..., 1, :, :]
        corner = -exact("...ij,...jk->...ik", exact("...ij,...jk->...ik", below, joins), upper)
        X = jnp.block([[upper, jnp.zeros_like(upper)], [corner, below]])
        size *= 2
    return X.reshape(*lead, padded, padded)[..., :C, :C]


def _inverse_forward(lower):
    X = inverse(lower)
    return X, X


def _inverse_backward(X, given):
    return (-exact("...ji,...jk->...ik", X, exact("...ij,...kj->...ik", given, X)),)


inverse.defvjp(_inverse_forward, _inverse_backward)


def exact(equation, left, right):
    """The einsum of two arrays at their full precision, which the gradients of beta and of the decay need."""
    with jax.default_matmul_precision("highest"):
        return product(equation, left, right, jnp.promote_types(left.dtype, jnp.float32))


def decays(visible, sums):
    """exp(g_i - g_j) where token j is visible to token i, else 0; sums: those of `cumulative`, None without decay."""
    if sums is None:
        return visible
    gap = sum(s[..., :, None] - s[..., None, :] for s in sums)
    return jnp.exp(jnp.where(visible, gap, -jnp.inf))


def earlier(C, run, least):
    """[B Z 1 1 C C] or [C C]: whether token j is at least `least` tokens before token i and in its run."""
    seen = jnp.tril(jnp.ones((C, C), bool), -least)
    return seen if run is None else (seen & (run[..., :, None] == run[..., None, :]))[:, :, None, None]


def solved(k, v, beta, since_entry, sums, run):
    """The written vectors if the chunk began with S_0 = 0 [B Z G R C H], and their change [B Z G R C M] by S_0.

    With w of the latter, u = (the former) - w S_0^T.  k [B Z G C M], v [B Z G R C H]; beta, since_entry and the sums
    of `cumulative` [B Z G R C]; run [B Z C].
    """
    gram = exact("bzgim,bzgjm->bzgij", k, k)[:, :, :, None]
    lower = gram * beta[..., None] * decays(earlier(k.shape[-2], run, 1), sums)
    X = inverse(lower) * beta[..., None, :]
    from_zero = exact("bzgrij,bzgrjh->bzgrih", X, v.astype(X.dtype))
    change = exact("bzgrij,bzgjm->bzgrim", X * since_entry[..., None, :], k.astype(X.dtype))
    return from_zero, change.astype(v.dtype)


def within(q, k, written, sums, run):
    """The part of y [B Z G R C H] that comes from what tokens of the same chunk have written."""
    scores = exact("bzgim,bzgjm->bzgij", q, k)[:, :, :, None]
    weights = (scores * decays(earlier(k.shape[-2], run, 0), sums)).astype(written.dtype)
    return product("bzgrij,bzgrjh->bzgrih", weights, written, scores.dtype)


def between(kept, until_exit, k, from_zero, change, state):
    """The state before each chunk [B Z G R H M], what its tokens write [B Z G R C H], and the last state [B G R H M].

    kept [B Z G R]: the decay of each chunk.  until_exit [B Z G R C]: that from each token to the end of its chunk.
    """

    def chunk(S, now):
        kept, until_exit, k, from_zero, change = now
        entry = S.astype(k.dtype)
        written = from_zero - product("bgrim,bgrhm->bgrih", change, entry, S.dtype)
        leaving = (written * until_exit[..., None]).astype(k.dtype)
        S = kept[..., None, None] * S + product("bgrih,bgim->bgrhm", leaving, k, S.dtype)
        return S, (entry, written.astype(k.dtype))

    over_chunks = tuple(jnp.moveaxis(a, 1, 0) for a in (kept, until_exit, k, from_zero, change))
    last, (entry, written) = jax.lax.scan(chunk, state, over_chunks)
    return jnp.moveaxis(entry, 0, 1), jnp.moveaxis(written, 0, 1), last


def span(state, now):
    """The last state [B G R H M] and y [B Z G R C H] of Z chunks, whose systems are solved at the same time.

    now: q, k [B Z G C M], v [B Z G R C H], beta and log_decay [B Z G R C], run [B Z C] and the run before each chunk
    [B Z 1]; log_decay and the runs may be None.
    """
    q, k, v, beta, log_decay, run, run_before = now
    wide = state.dtype
    since_entry = until_exit = jnp.zeros(beta.shape, wide)
    sums = None
    if log_decay is not None:
        sums = coarse, fine = cumulative(jnp.maximum(log_decay.astype(wide), VANISHED))
        since_entry, until_exit = coarse + fine, coarse[..., -1:] - coarse + (fine[..., -1:] - fine)
    if run is not None:
        since_entry = jnp.where((run == run_before)[:, :, None, None], since_entry, -jnp.inf)
        until_exit = jnp.where((run == run[..., -1:])[:, :, None, None], until_exit, -jnp.inf)
    since_entry, until_exit = jnp.exp(since_entry), jnp.exp(until_exit)
    from_zero, change = solved(k, v, beta.astype(wide), since_entry, sums, run)
    entry, written, last = between(since_entry[..., -1], until_exit, k, from_zero, change, state)
    carried = product("bzgim,bzgrhm->bzgrih", q, entry, wide)
    return last, within(q, k, written, sums, run) + carried * since_entry[..., None]


def xla(q, k, v, beta, *, log_decay=None, segments=None, state=None, scale=None, chunk=64):
    """`delta` in chunks of at most `chunk` tokens, for any platform.

    The triangular systems are formed and solved in float32. The operands of other products have the dtype of v, and
    their sums are float32; decays and the state are float32. The backward pass keeps the state before every span of
    at most SPAN chunks, and computes the rest of a span again.
    """
    B, T, N, H = v.shape
    G, M = k.shape[2:]
    R = N // G
    C = chunk_length(T, chunk)
    spans = -(-T // (C * SPAN))
    Z = -(-T // (C * spans))
    wide = jnp.promote_types(v.dtype, jnp.float32)
    run = run_before = None
    if segments is not None:
        q, k, v, beta = without_padding(segments, q, k, v, beta)
        log_decay = None if log_decay is None else without_padding(segments, log_decay)[0]
        run = jnp.pad(runs(segments), ((0, 0), (0, spans * Z * C - T)), mode="edge")
        run_before = jnp.pad(run[:, C - 1 : -1 : C], ((0, 0), (1, 0)))  # run 0 continues from `state`
        run = jnp.moveaxis(run.reshape(B, spans, Z, C), 1, 0)
        run_before = jnp.moveaxis(run_before.reshape(B, spans, Z, 1), 1, 0)

    def chunks(a, *heads):
        """An array [B T N ...] as [spans B Z G R C ...], with zeros after the last token."""
        a = jnp.pad(a, ((0, 0), (0, spans * Z * C - T), *[(0, 0)] * (a.ndim - 2)))
        a = jnp.moveaxis(a.reshape(B, spans, Z, C, *heads, *a.shape[3:]), 1, 0)
        return jnp.moveaxis(a, 3, 3 + len(heads))

    q, k = (chunks(a.astype(v.dtype), G) for a in (q, k))
    v, beta = chunks(v, G, R), chunks(beta, G, R)
    log_decay = None if log_decay is None else chunks(log_decay, G, R)
    first = jnp.zeros((B, N, H, M)) if state is None else state
    first = first.astype(wide).reshape(B, G, R, H, M)
    one_span = jax.checkpoint(span, prevent_cse=False)
    last, y = jax.lax.scan(one_span, first, (q, k, v, beta, log_decay, run, run_before))
    y = jnp.moveaxis(jnp.moveaxis(y, 5, 3), 0, 1).reshape(B, spans * Z * C, N, H)[:, :T]
    y = y * (M**-0.5 if scale is None else scale)
    return y.astype(v.dtype), last.reshape(B, N, H, M)
