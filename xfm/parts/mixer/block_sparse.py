"""Attention between blocks: each sees its neighbours, and the first and the last block see and are seen by all.

Zaheer, Guruganesh, Dubey, Ainslie, Alberti, Ontanon, Pham, Ravula, Wang, Yang, Ahmed, "Big Bird: Transformers for
Longer Sequences", 2020, section 2 and appendix D, internal construction. The paper's blocks drawn at random are absent:
what evaluates its published networks today (transformers) draws the first block each time, which `again` counts.
Memory is linear in length; time is not, since every score is formed and those outside the pattern dropped.
"""

import dataclasses
import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.kernels.attention import Dropout, attention
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.mixer.texts import places_and_lengths
from xfm.spec import SpecError


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["place", "length"], meta_fields=["size", "again", "dense"]
)
@dataclasses.dataclass(frozen=True)
class Blocks:
    """A bias of -inf outside the pattern, and of log(1 + again) on the first block, which counts so often.

    place: of each token in its text.  length: of that text; one of up to `dense` tokens is seen in full.
    size: of a block, in tokens; the last of a text may be shorter.
    """

    place: Int[Array, "B T"]
    length: Int[Array, "B T"]
    size: int
    again: int
    dense: int

    def block(self, b, n, query: Int[Array, "t"], key: Int[Array, "s"]) -> Float[Array, "t s"]:
        length = self.length[b, query][:, None]
        last = (length - 1) // self.size
        i, j = self.place[b, query][:, None] // self.size, self.place[b, key][None, :] // self.size
        near = jnp.where((jnp.abs(i - j) <= 1) | (j == last), 0.0, -jnp.inf)
        some = jnp.where(j == 0, jnp.log1p(float(self.again)), near)
        return jnp.where((length <= self.dense) | (i == 0) | (i == last), 0.0, some)


class BlockSparse(nn.Module):
    """Attention of N heads in the pattern of `Blocks`, text by text.

    heads: N.  block: tokens in one.  again: how often more the first block counts where a query does not see all.
    dense: tokens up to which a text is seen in full.  drop: rate of dropout on the attention weights.
    """

    whole_row: ClassVar[str | None] = "is dense or sparse by the length of a whole row"
    mixes_all: ClassVar[bool] = False

    heads: Count
    block: Count = 64
    again: CountOrZero = 0
    dense: CountOrZero = 0
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("block_sparse", ctx, state)
        (B, T, D), N = x.shape, self.heads
        if N < 1 or D % N:
            raise SpecError(f"block_sparse: a width of {D} does not divide among {N} heads")
        if self.block < 1 or min(self.again, self.dense) < 0:
            raise SpecError(
                f"block_sparse: block is 1 or more, again and dense 0 or more, not {self.block}, {self.again} and "
                f"{self.dense}"
            )
        x = ctx.clean(x)
        q, k, v = (Linear((N, D // N), name=name)(x) for name in ("q", "k", "v"))
        segments = jnp.ones((B, T), jnp.int32) if ctx.segments is None else ctx.segments
        bias = None if T <= self.dense else Blocks(*places_and_lengths(segments), self.block, self.again, self.dense)
        drop = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
        y = attention(q, k, v, segments=ctx.attending, bias=bias, dropout=drop)
        return Linear(D, axes=2, name="o")(y), None
