"""Attention in plain JAX: runs everywhere, honours every argument, takes memory linear in length.

All of it is one function of one head of one row, `_head`, that takes its queries in chunks. Rows and heads are then
vectorised where scores are small or the machine wants large batches of work, and walked one by one on a CPU above
SHORT tokens: there a head's scores stay in cache (3.3 times faster at length 512 than all heads at once).
"""

import functools

import jax
import jax.numpy as jnp

from ..platform import platform, product

SHORT = 256  # up to here a CPU is as fast with all heads at once
CHUNK = 512  # queries whose scores exist at one time


def xla(q, k, v, *, segments, mask, bias, scale, dropout):
    """The public function's arguments, all of them checked and present."""
    (B, T, N, H), (_, S, K, _) = q.shape, k.shape
    if segments is None and bias is None and dropout is None and mask.shows_all and T <= CHUNK:
        if platform() != "cpu" or max(T, S) <= SHORT:
            return jax.nn.dot_product_attention(q, k, v, scale=scale, implementation="xla")

    head = functools.partial(_head, mask=mask, bias=bias, scale=scale, dropout=dropout)
    q = q.reshape(B, T, K, N // K, H)
    if segments is None:
        q_segments = k_segments = None
    else:
        q_segments, k_segments = segments

    if platform() == "cpu" and max(T, S) > SHORT:
        rows, heads = (a.ravel() for a in jnp.meshgrid(jnp.arange(B), jnp.arange(N), indexing="ij"))

        def one(pair):
            b, n = pair
            kv = n // (N // K)
            own = [None if a is None else a[b] for a in (q_segments, k_segments, mask.prefix)]
            return head(q_of_head[b, n], k_of_head[b, kv], v_of_head[b, kv], *own, b, n)

        q_of_head = q.reshape(B, T, N, H).transpose(0, 2, 1, 3)
        k_of_head, v_of_head = (a.transpose(0, 2, 1, 3) for a in (k, v))
        y = jax.lax.map(one, (rows, heads))
        return y.reshape(B, N, T, H).transpose(0, 2, 1, 3)

    group = jax.vmap(head, (1, None, None, None, None, None, None, 0), 1)
    heads = jax.vmap(group, (1, 1, 1, None, None, None, None, 0), 1)
    rows = jax.vmap(
        heads, (0, 0, 0, *(None if a is None else 0 for a in (q_segments, k_segments, mask.prefix)), 0, None)
    )
    y = rows(q, k, v, q_segments, k_segments, mask.prefix, jnp.arange(B), jnp.arange(N).reshape(K, N // K))
    return y.reshape(B, T, N, H)


def _head(q, k, v, q_segments, k_segments, prefix, b, n, *, mask, bias, scale, dropout):
    """One head of one row: q [T H], k and v [S H] -> [T H]."""
    (T, H), S = q.shape, k.shape[0]
    if k_segments is not None:
        real = (k_segments > 0)[:, None]
        k, v = jnp.where(real, k, 0), jnp.where(real, v, 0)  # NaN times a zero weight is NaN
        q = jnp.where((q_segments > 0)[:, None], q, 0)

    chunks = -(-T // CHUNK)
    chunk = -(-T // chunks)
    before, after = mask.reach
    span = None if before is None or after is None else before + chunk + after
    if span is not None and span < S:  # a window: each chunk of queries meets a slice of the keys only
        room = ((before, chunk + after),)
        k, v = (jnp.pad(a, (*room, (0, 0))) for a in (k, v))
        prefix = None if prefix is None else jnp.pad(prefix, room)
        k_segments = None if k_segments is None else jnp.pad(k_segments, room)

    def attend(start, q, q_segments):
        """The chunk of queries from row index `start` on."""
        query = start + mask.start + jnp.arange(chunk)
        near = (k, v, k_segments, prefix)
        key = jnp.arange(S)
        if span is not None and span < S:
            first = start + mask.start
            near = [None if a is None else jax.lax.dynamic_slice_in_dim(a, first, span) for a in near]
            key = first - before + jnp.arange(span)
        k_near, v_near, k_segments_near, prefix_near = near
        scores = product("th,sh->ts", q, k_near) * scale
        if bias is not None:
            scores += bias.block(b, n, query, key)
        rules = [mask.visible(query, key, prefix_near)]
        if k_segments is not None:
            rules.append((q_segments[:, None] == k_segments_near[None, :]) & (k_segments_near > 0)[None, :])
        if span is not None and span < S:
            rules.append(((key >= 0) & (key < S))[None, :])
        rules = [rule for rule in rules if rule is not None]
        if rules:
            scores = jnp.where(functools.reduce(jnp.logical_and, rules), scores, -jnp.inf)
        top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
        weights = jnp.exp(scores - jnp.where(jnp.isfinite(top), top, 0.0))
        total = weights.sum(axis=-1, keepdims=True)
        if dropout is not None:
            weights = jnp.where(dropout.keep(b, n, query, key), weights / (1 - dropout.rate), 0.0)
        y = product("ts,sh->th", weights.astype(v.dtype), v_near)
        return (y / jnp.where(total == 0, 1.0, total)).astype(q.dtype)

    if chunks == 1 and max(T, S) <= SHORT:
        return attend(0, q, q_segments)
    attend = jax.checkpoint(attend)  # backward recomputes the scores of a chunk: nothing of size T × S is kept
    if chunks == 1:
        return attend(0, q, q_segments)
    tail = ((0, chunks * chunk - T),)
    q = jnp.pad(q, (*tail, (0, 0))).reshape(chunks, chunk, H)
    # 0 · b ties masks and biases to the walk over heads: what does not change along it, JAX would compute once for all
    # chunks and keep, at T × S numbers.
    starts = jnp.arange(chunks) * chunk + 0 * b
    if q_segments is None:
        y = jax.lax.map(lambda a: attend(*a, None), (starts, q))
    else:
        q_segments = jnp.pad(q_segments, tail).reshape(chunks, chunk)
        y = jax.lax.map(lambda a: attend(*a), (starts, q, q_segments))
    return y.reshape(chunks * chunk, H)[:T]
