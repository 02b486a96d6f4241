"""Attention of few queries to many keys: the keys are cut into equal pieces, attended to separately, and merged.

Sanovar, Bharadwaj, St. Amant, Rühle, Rajmohan, "Lean Attention: Hardware-Aware Scalable Attention Mechanism for the
Decode-Phase of Transformers" (2024), section 3.2: merging is associative, so there may be any number of pieces in any
order, and all cores have the same amount of work, however few queries there are.

A TPU needs no pieces: XLA reads keys and values once there, in their own layout, whatever their number. Pieces would
make it copy them, and a kernel for 128 queries at a time is mostly idle with one (benchmarks/README.md).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..platform import platform
from .block import ScoreBlock, attend, tokens
from .softmax import Softmax

FEW = 8  # the most queries
LONG = 512  # the fewest keys of a row that is cut
MANY = 128  # the fewest keys whose reading takes most of the time with few queries
PIECE = 1024  # the most keys in a piece


def merge(
    ys: Float[Array, "P *any H"], lses: Float[Array, "P *any"]
) -> tuple[Float[Array, "*any H"], Float[Array, "*any"]]:
    """Values and log-sum-exps over the union of P disjoint sets of keys, from those over each.

    Associative and commutative. A set in which a query attends to nothing has log-sum-exp -inf and no
    weight.
    """
    top = jax.lax.stop_gradient(lses.max(axis=0))
    top = jnp.maximum(top, jnp.finfo(top.dtype).min)  # where all are -inf, so that no infinities are subtracted
    weights = jnp.exp(lses - top)
    total = weights.sum(axis=0)
    some = jnp.where(total == 0, 1.0, total)
    y = (ys.astype(weights.dtype) * weights[..., None]).sum(axis=0) / some[..., None]
    return y.astype(ys.dtype), jnp.where(total == 0, -jnp.inf, jnp.log(some) + top)


def few(T: int, S: int) -> bool:
    """Whether T queries are so few that reading S keys and values takes most of the time."""
    return T <= FEW and S >= MANY


def suits(T: int, S: int, softmax) -> bool:
    """Whether to split the keys. Clipped weights need the whole denominator first; sigmoids have none."""
    merges = isinstance(softmax, Softmax) and softmax.clip is None
    return platform() != "tpu" and T <= FEW and S >= LONG and merges


def split(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """As `xla`, in pieces. A CPU takes one after the other, which stays in cache, and skips those after all queries."""
    (B, T, N, H), (_, S, K, _) = q.shape, k.shape
    pieces = -(-S // PIECE)
    size = -(-S // pieces)
    q, heads = q.reshape(B, T, K, N // K, H), jnp.arange(N).reshape(K, N // K)
    own, given = tokens(segments, mask), dict(mask=mask, bias=bias, scale=scale, softmax=softmax, dropout=dropout)
    by_key = dict(k=k, v=v, k_segments=own["k_segments"], prefix=own["prefix"])

    def piece(i, start, near):
        """Values and log-sum-exp of piece i, read from key `start` on; keys before i · size are of the piece before."""
        key = start + jnp.arange(size)
        exists = (key >= i * size) & (key < S)

        def one(q, k, v, own, b, n):
            return attend(q, k, v, own, ScoreBlock(b, n, jnp.arange(T), key, exists), **given)

        mine = own | {name: near[name] for name in ("k_segments", "prefix")}
        group = jax.vmap(one, (1, None, None, None, None, 0))
        of_heads = jax.vmap(group, (1, 1, 1, None, None, 0))
        y, lse = jax.vmap(of_heads, (0, 0, 0, 0, 0, None))(q, near["k"], near["v"], mine, jnp.arange(B), heads)
        return y.reshape(B, N, T, H), lse.reshape(B, N, T)

    def met(i):
        start = jnp.minimum(i * size, S - size)

        def some():
            return piece(i, start, jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size, 1), by_key))

        def none():
            wide = jnp.promote_types(q.dtype, jnp.float32)
            return jnp.zeros((B, N, T, H), wide), jnp.full((B, N, T), -jnp.inf, wide)

        if mask.order == "causal" and mask.prefix is None:
            return jax.lax.cond(i * size < mask.start + T, some, none)
        return some()

    def cut(a):
        padded = jnp.pad(a, ((0, 0), (0, pieces * size - S), *((0, 0),) * (a.ndim - 2)))
        return padded.reshape(B, pieces, size, *a.shape[2:])

    if platform() == "cpu":
        ys, lses = jax.lax.map(met, jnp.arange(pieces))
    else:
        index = jnp.arange(pieces)
        ys, lses = jax.vmap(piece, (0, 0, 1))(index, index * size, jax.tree.map(cut, by_key))
    y, lse = merge(ys, lses)
    return y.transpose(0, 2, 1, 3).astype(q.dtype), lse.transpose(0, 2, 1)
