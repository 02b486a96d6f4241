"""Windowed attention with few tokens that lift the window: they are gathered, and no other score outside is formed.

Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer" (2020), section 3.1; Zaheer et al., "Big Bird:
Transformers for Longer Sequences" (2020), section 2. Each chunk of queries attends to the keys of its window
and to the keys that `mask.everyone` marks; then the marked queries attend to all keys. A row has at most `mask.most`
marked tokens, so that their number is a static shape.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .bias import Bias, Relative
from .block import ScoreBlock, attend
from .mask import Mask

SMALLEST = 64  # queries in a chunk, at least: shorter products do not fill the processor


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Row:
    """Keys and values [s H] of one head of one row, and what is known about its tokens (see `block.tokens`)."""

    k: Float[Array, "s H"]
    v: Float[Array, "s H"]
    own: dict

    def mapped(self, f: Callable) -> "Row":
        """The row with f applied to everything that belongs to its keys."""
        return Row(f(self.k), f(self.v), self.own | {a: f(self.own[a]) for a in ("k_segments", "prefix")})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gathered:
    """The tokens that `everyone` marks: row indices (the row's length where there are fewer), keys and values."""

    index: Int[Array, "G"]
    exists: Bool[Array, "G"]
    row: Row


@dataclasses.dataclass(frozen=True)
class Singly:
    """A bias at keys, or queries, that are not consecutive, computed for each of them separately.

    of: "keys" that follow `first` consecutive ones, or "queries", all of them.
    """

    bias: Bias
    of: str
    first: int = 0

    def block(self, b, n, query, key):
        """[t s]: as in `Bias`, though keys or queries need not be consecutive."""
        if self.of == "queries":
            return jax.vmap(lambda t: self.bias.block(b, n, t[None], key)[0])(query)
        consecutive = self.bias.block(b, n, query, key[: self.first])
        each = jax.vmap(lambda s: self.bias.block(b, n, query, s[None])[:, 0], out_axes=1)(key[self.first :])
        return jnp.concatenate([consecutive, each], axis=1)


def chunk(mask: Mask, longest: int) -> int:
    """The number of queries in a chunk: about half the number of keys in a window."""
    before, after = mask.near
    return min(longest, max(SMALLEST, (before + after + 1) // 2))


def suits(mask: Mask, bias: Bias | None, T: int, S: int, longest: int) -> bool:
    """Whether to gather: the window is bounded, few tokens lift it, and fewer scores are formed.

    A `Relative` bias computes whole diagonals, so gathered keys would cost more than they save.
    """
    before, after = mask.near
    if mask.most is None or before is None or after is None or isinstance(bias, Relative):
        return False
    return mask.most <= longest and before + min(T, chunk(mask, longest)) + after + mask.most < S


def gathered(row: Row, most: int) -> Gathered:
    """The marked tokens of a row, in order, at most `most` of them."""
    marks = row.own["everyone"]
    index = jnp.nonzero(marks, size=most, fill_value=marks.shape[0])[0]

    def taken(a):
        return None if a is None else a.at[index].get(mode="fill", fill_value=0)

    return Gathered(index, index < marks.shape[0], row.mapped(taken))


def beside(near: Row, far: Gathered, block: ScoreBlock, bias: Bias | None) -> tuple[Row, ScoreBlock, Bias | None]:
    """The keys of a window followed by the gathered ones; a key in both counts once."""
    consecutive = block.key.shape[0]

    def joined(a, b):
        return None if a is None else jnp.concatenate([a, b])

    own = near.own | {a: joined(near.own[a], far.row.own[a]) for a in ("k_segments", "prefix")}
    first = jnp.ones(consecutive, bool) if block.exists is None else block.exists
    block = dataclasses.replace(
        block,
        key=joined(block.key, far.index),
        exists=joined(first, far.exists),
        gathered=jnp.arange(consecutive + far.index.shape[0]) >= consecutive,
    )
    bias = None if bias is None else Singly(bias, "keys", consecutive)
    return Row(joined(near.k, far.row.k), joined(near.v, far.row.v), own), block, bias


def answered(q: Float[Array, "T H"], row: Row, far: Gathered, *, mask: Mask, bias, b, n, **given):
    """The attention of the marked queries to all keys: values [G H] and log-sum-exp [G]."""
    place = jnp.where(far.exists, far.index - mask.start, 0)

    def taken(a):
        return None if a is None else a[jnp.clip(place, 0, q.shape[0] - 1)]

    own = row.own | dict(q_segments=taken(row.own["q_segments"]))
    whole = dataclasses.replace(mask, before=None, after=None, everyone=None, pattern=None, most=None)
    block = ScoreBlock(b, n, place, jnp.arange(row.k.shape[0]))
    bias = None if bias is None else Singly(bias, "queries")
    return attend(taken(q), row.k, row.v, own, block, mask=whole, bias=bias, **given)


def put(y, lse, y_far, lse_far, far: Gathered, mask: Mask):
    """Values and log-sum-exp of all queries, those of marked ones replaced; a marked key need not be a query."""
    T = y.shape[0]
    place = far.index - mask.start
    place = jnp.where(far.exists & (place >= 0), place, T)  # T stands for no query
    return y.at[place].set(y_far.astype(y.dtype), mode="drop"), lse.at[place].set(lse_far, mode="drop")
