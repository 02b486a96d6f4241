"""Byte embeddings, with hashed n-grams of the preceding bytes. Pagnoni et al. 2024 (BLT), section 3.2.1."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.embed.table import Table
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NO_POSITION = freeze(dict(kind="none"))
PRIME = 1_000_000_007


def ngram_hash(
    tokens: Int[Array, "B T"], segments: Int[Array, "B T"] | None, n: int, buckets: int
) -> Int[Array, "B T"]:
    """A polynomial hash of each token and the n - 1 before it in its segment (0 where there are none)."""
    T = tokens.shape[1]
    total = jnp.zeros(tokens.shape, jnp.uint32)
    for back in range(n):
        earlier = jnp.pad(tokens + 1, ((0, 0), (back, 0)))[:, :T]
        if segments is not None:
            same = jnp.pad(segments, ((0, 0), (back, 0)))[:, :T] == segments
            earlier = jnp.where(same, earlier, 0)
        total = total * jnp.uint32(PRIME) + earlier.astype(jnp.uint32)
    return ((total ^ (total >> 15)) % jnp.uint32(buckets)).astype(jnp.int32)


class Bytes(Embed):
    """One row per byte value and special id, plus the mean of one hashed row per n-gram length.

    vocab: 256 bytes and the special ids.  width: D.  ngrams: lengths n, none by default.  buckets: rows per length.
    The byte table is given to later parts as ctx.embedding, for heads that are tied to it.
    """

    width: Count
    vocab: Count = 261
    ngrams: tuple[Count, ...] = ()
    buckets: Count = 4096
    position: Spec = NO_POSITION
    norm: Spec | None = None
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        tokens = batch["tokens"]
        byte = Table(self.vocab, self.width, dtype=ctx.dtype, name="byte")
        x = byte(tokens)
        if self.ngrams:
            ctx.refuse_heard("embed 'bytes' with ngrams")
        for n in self.ngrams:
            table = Table(self.buckets, self.width, dtype=ctx.dtype, name=f"ngram_{n}")
            x += table(ngram_hash(tokens, ctx.segments, n, self.buckets))
        x = x / (1 + len(self.ngrams))
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        x = ctx.clean(x)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        x = nn.Dropout(self.drop)(x, deterministic=not ctx.train)
        return x, ctx.replace(embedding=byte.embedding)
