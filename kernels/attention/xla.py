"""Attention in plain JAX: it runs everywhere, honours every argument, and takes memory linear in length.

The function `_head` computes one head of one row, its queries in chunks. Rows and heads are vectorised over, except on
a CPU above SHORT tokens, where they are computed one after the other: a head's scores then stay in the cache (3.3 times
faster at length 512 than all heads at once).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from ..platform import platform
from . import decode, everyone
from .block import ScoreBlock, attend, tokens
from .softmax import Softmax

SHORT = 256  # tokens up to which a CPU is as fast with all heads at once
CHUNK = 512  # queries whose scores exist at one time


def xla(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """(values, log-sum-exp or None) for the public function's arguments, all of them checked and present."""
    (B, T, N, H), (_, S, K, _) = q.shape, k.shape
    given = dict(mask=mask, bias=bias, scale=scale, softmax=softmax, dropout=dropout)
    if decode.suits(T, _span(mask.reach, T) or S, softmax):
        return decode.split(q, k, v, segments=segments, **given)
    own, G = jax.tree.map(jnp.asarray, tokens(segments, mask)), N // K  # loops index them, which NumPy arrays refuse
    walk = "heads" if platform() == "cpu" and max(T, S) > SHORT else "none"
    head = functools.partial(_head, walk=walk, **given)
    heads = jnp.arange(N).reshape(K, G)

    if walk == "heads":  # products of two axes: with more axes XLA transposes the scores

        def of_head(near, k, v):
            q, b, n = near
            return head(q, k, v, jax.tree.map(lambda a: a[b], own), b, n)

        def of_keys(near):
            *q, k, v = near
            run = functools.partial(of_head, k=k, v=v)
            if G == 1:  # a loop of one step less to trace
                return jax.tree.map(lambda a: a[None], run([a[0] for a in q]))
            return jax.lax.map(run, tuple(q))

        def of_row(near):  # b is an input of each head, so that nothing can be computed once for all heads and kept
            q, k, v, b = near
            q, k, v = q.transpose(1, 0, 2).reshape(K, G, T, H), k.transpose(1, 0, 2), v.transpose(1, 0, 2)
            y, lse = jax.lax.map(of_keys, (q, jnp.full((K, G), b), heads, k, v))
            return y.reshape(N, T, H).transpose(1, 0, 2), lse.reshape(N, T).T

        y, lse = jax.lax.map(of_row, (q, k, v, jnp.arange(B)))
    else:
        q = q.reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
        k, v = (a.transpose(0, 2, 1, 3) for a in (k, v))
        group = jax.vmap(head, (0, None, None, None, None, 0))
        if G == 1:  # each operation is traced once more for each axis that is vectorised over
            q, heads, group = q[:, :, 0], heads[:, 0], head
        of_heads = jax.vmap(group, (0, 0, 0, None, None, 0))
        y, lse = jax.vmap(of_heads, (0, 0, 0, 0, 0, None))(q, k, v, own, jnp.arange(B), heads)
        y, lse = y.reshape(B, N, T, H).transpose(0, 2, 1, 3), lse.reshape(B, N, T).transpose(0, 2, 1)
    return y, lse if isinstance(softmax, Softmax) else None


def gathers(mask, bias, T: int, S: int) -> bool:
    """Whether `mask.most` lets this implementation form fewer scores for T queries over S keys."""
    return everyone.suits(mask, bias, T, S, CHUNK)


def _span(reach, chunk: int) -> int | None:
    """The largest number of keys that a chunk of consecutive queries can attend to; None for all."""
    before, after = reach
    return None if before is None or after is None else before + chunk + after


def _head(q, k, v, own, b, n, *, walk, mask, bias, **given):
    """One head of one row: q [T H], k and v [S H] -> values [T H], log-sum-exp [T] (0 for a sigmoid)."""
    (T, H), S = q.shape, k.shape[0]
    apart = gathers(mask, bias, T, S)
    chunks = -(-T // everyone.chunk(mask, CHUNK)) if apart else -(-T // CHUNK)
    chunk = -(-T // chunks)
    reach = mask.near if apart else mask.reach
    span = _span(reach, chunk)
    sliced = span is not None and span < S
    whole = everyone.Row(k, v, own)
    far = everyone.gathered(whole, mask.most) if apart else None
    if sliced:  # a window: each chunk of queries reads only a slice of the keys
        room = ((reach[0], chunk + reach[1]),)
        k, v = (jnp.pad(a, (*room, (0, 0))) for a in (k, v))
        own = own | {a: None if own[a] is None else jnp.pad(own[a], room) for a in ("k_segments", "prefix")}

    def part(start, q, q_segments):
        """Values and log-sum-exp of the chunk of queries from index `start` on."""
        near, block_bias = everyone.Row(k, v, own | dict(q_segments=q_segments)), bias
        block = ScoreBlock(b, n, start + jnp.arange(chunk), jnp.arange(S))
        if sliced:
            first = start + mask.start

            def cut(a):
                return None if a is None else jax.lax.dynamic_slice_in_dim(a, first, span)

            near = near.mapped(cut)
            key = first - reach[0] + jnp.arange(span)
            block = dataclasses.replace(block, key=key, exists=(key >= 0) & (key < S))
        if apart and mask.lifts != "queries":
            near, block, block_bias = everyone.beside(near, far, block, bias)
        y, lse = attend(q, near.k, near.v, near.own, block, mask=mask, bias=block_bias, **given)
        return y.astype(q.dtype), lse

    long = max(T, S) > SHORT
    if long:
        part = jax.checkpoint(part)  # backward recomputes the scores of a chunk, so nothing of size T × S is kept
    asking, q_segments = q, own["q_segments"]
    if chunks == 1:
        y, lse = part(0, q, q_segments)
    else:
        tail = ((0, chunks * chunk - T),)
        q = jnp.pad(q, (*tail, (0, 0))).reshape(chunks, chunk, H)
        if q_segments is not None:
            q_segments = jnp.pad(q_segments, tail).reshape(chunks, chunk)
        starts = jnp.arange(chunks) * chunk
        if walk == "heads":  # makes masks and biases depend on row and head: what does not depend on them JAX would
            starts += 0 * (b + n)  # compute before the loops, for all chunks, and keep, which takes T × S numbers
        y, lse = jax.lax.map(lambda a: part(*a), (starts, q, q_segments))
        y, lse = y.reshape(chunks * chunk, H)[:T], lse.reshape(-1)[:T]
    if not apart or mask.lifts == "keys":
        return y, lse
    over_all = functools.partial(everyone.answered, mask=mask, bias=bias, b=b, n=n, **given)
    over_all = jax.checkpoint(over_all) if long else over_all
    return everyone.put(y, lse, *over_all(asking, whole, far), far, mask)
