"""Hash embeddings of characters: every code point has a vector, and there is no vocabulary.

Clark, Garrette, Turc, Wieting, "CANINE: Pre-training an Efficient Tokenization-Free Encoder for Language
Representation", 2021, section 3.1; the hash and its primes are those of the authors' program.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.embed.table import Table
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

NO_POSITION = freeze(dict(kind="none"))
PRIMES = (31, 43, 59, 61, 73, 97, 103, 113, 137, 149, 157, 173, 181, 193, 211, 223)
UNICODE = 0x110000  # code points


def bucket(tokens: Int[Array, "B T"], prime: int, buckets: int) -> Int[Array, "B T"]:
    """(id + 1) · prime mod buckets; exact in 32 bits for ids below nine million."""
    return (tokens + 1) * prime % buckets


class Hashed(Embed):
    """The concatenation of one row per hash, plus the rows of position and type, then a norm and dropout.

    width: D.  hashes: number of tables, at most 16, each D / hashes wide.  buckets: rows of each table.
    vocab: number of legal ids; it takes no memory.  types: number of token types, 0 for none.
    position: spec of the position slot.  norm, drop: after the sum, no norm if None.
    There is no table with a row per id, so no head can be tied to one.
    """

    width: Count
    vocab: Count = UNICODE
    hashes: Count = 8
    buckets: Count = 16384
    types: CountOrZero = 0
    position: Spec = NO_POSITION
    norm: Spec | None = None
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        if not 1 <= self.hashes <= len(PRIMES) or self.width % self.hashes:
            raise SpecError(
                f"embed 'hashed' has 1 to {len(PRIMES)} hashes that divide its width of {self.width}, not {self.hashes}"
            )

        def table(rows, width, name):
            return Table(rows, width, dtype=ctx.dtype, name=name)

        tokens, share = batch["tokens"], self.width // self.hashes
        rows = [
            table(self.buckets, share, f"hash_{i}")(bucket(tokens, PRIMES[i], self.buckets)) for i in range(self.hashes)
        ]
        x = jnp.concatenate(rows, axis=-1)
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        if self.types:
            x += table(self.types, self.width, "type")(batch.get("types", jnp.zeros_like(tokens)))
        x = ctx.clean(x)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train), ctx
