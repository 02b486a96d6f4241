"""Attention within blocks that do not overlap. Clark et al. 2021 (CANINE), section 3.2: the layer of characters."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context, positions_within
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, Mask, attention
from xfm.kernels.counting import included, stated
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import SpecError


def blocks(segments: Int[Array, "B T"], size: int) -> Int[Array, "B T"]:
    """The number, from 1, of each token's block, 0 at padding: a text's blocks are counted from its first token.

    A text that padding tears apart begins again behind it.
    """
    number = jnp.cumsum(positions_within(segments) % size == 0, axis=1)
    return jnp.where(segments > 0, number, 0)


def deaf(number: Int[Array, "B T"], heard: Bool[Array, "B T"]) -> Bool[Array, "B T"]:
    """Which tokens are in a block of which no token is attended to."""
    most = number.shape[1] + 1
    count = jax.vmap(lambda n, h: jax.ops.segment_sum(h.astype(jnp.int32), n, most)[n])(number, heard)
    return (count == 0) & (number > 0)


class BlockLocal(nn.Module):
    """Attention of N heads between the tokens of one block. Time and memory are linear in length.

    heads: N.  block: tokens in one; the last of a text may be shorter.  drop: rate of dropout on the attention weights.
    A block of which all tokens only attend gives the mean of their values, as a softmax does that adds the same large
    number to every score.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    block: Count = 128
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("block_local", ctx, state)
        (B, T, D), N = x.shape, self.heads
        if N < 1 or D % N:
            raise SpecError(f"block_local: a width of {D} does not divide among {N} heads")
        if self.block < 1:
            raise SpecError(f"block_local: a block holds 1 token or more, not {self.block}")
        x = ctx.clean(x)
        q, k, v = (Linear((N, D // N), name=name)(x) for name in ("q", "k", "v"))
        own = blocks(jnp.ones((B, T), jnp.int32) if ctx.segments is None else ctx.segments, self.block)
        if ctx.heard is not None:
            silent = deaf(own, ctx.heard)
            q = jnp.where(silent[..., None, None], 0, q)
            own = own, jnp.where(ctx.heard | silent, own, 0)
        drop = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
        near = Mask.window(self.block - 1, self.block - 1)
        with included():
            y = attention(q, k, v, segments=own, mask=near, dropout=drop)
        return Linear(D, axes=2, name="o")(stated(y, 4 * min(self.block, T))), None
