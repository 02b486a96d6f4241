"""Attention between pooled tokens: queries and keys may differ in length, and scores depend on distance and type.

Dai, Lai, Yang, Le, "Funnel-Transformer" (2020), section 2.2 and appendix A.2; the types as in Yang et al. 2019 (XLNet).
The paper computes the score of a distance in two ways, by shifting (A.2.1) and factorised for TPUs (A.2.2). Both give
the same number, since the sine and cosine of a difference factorise; here it is factorised, with half the paper's
products.
"""

import dataclasses
import functools
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context, Memory
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, attention
from xfm.kernels.platform import product
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.param import param
from xfm.spec import SpecError

LARGEST = 10_000  # the longest wavelength, divided by 2 pi
COMMON = 2  # the type of the first token, which counts as equal to every type


def sides(
    a: Float[Array, "B T N D"], query: Int[Array, "B T"], key: Int[Array, "B S"]
) -> tuple[Float[Array, "B T N D"], Float[Array, "B S D"]]:
    """Vectors whose inner product is a · [sin w(t - s), cos w(t - s)], t and s positions, w one frequency per pair."""
    half = a.shape[-1] // 2
    w = LARGEST ** -(jnp.arange(half) / half)
    angle, of_sin, of_cos = (query[..., None] * w)[:, :, None], a[..., :half], a[..., half:]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    turned = jnp.concatenate([of_sin * sin + of_cos * cos, of_cos * sin - of_sin * cos], axis=-1)
    angle = key[..., None] * w
    return turned, jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["query", "key", "of_type", "types", "counts"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class PooledTerms:
    """The scores of distance and of type, block by block; 0 where the query or the key does not count.

    query, key: as `sides` makes them.  of_type: the scores of a key of another type and of the same type.  types,
    counts: of queries and of keys.
    """

    query: Float[Array, "B T N D"]
    key: Float[Array, "B S D"]
    of_type: Float[Array, "B T N 2"]
    types: tuple[Int[Array, "B T"], Int[Array, "B S"]]
    counts: tuple[Bool[Array, "B T"], Bool[Array, "B S"]]

    def block(self, b, n, query, key):
        """[t s]: the scores of row b and head n between the queries and the keys at these row indices."""
        t, s = jnp.clip(query, 0, self.query.shape[1] - 1), jnp.clip(key, 0, self.key.shape[1] - 1)
        own, its = self.types[0][b, t][:, None], self.types[1][b, s][None, :]
        other, same = self.of_type[b, t, n, 0][:, None], self.of_type[b, t, n, 1][:, None]
        scores = product("th,sh->ts", self.query[b, t, n], self.key[b, s])
        scores += jnp.where((own == its) | (own == COMMON) | (its == COMMON), same, other)
        return jnp.where(self.counts[0][b, t][:, None] & self.counts[1][b, s][None, :], scores, 0.0)


class DistanceFactors(nn.Module):
    """a_tn[d] = Σ_h q_tn[h] · kernel[d, n, h]: each query's factors for the sines and cosines of a distance."""

    width: int

    @nn.compact
    def __call__(self, q: Float[Array, "B T N H"]) -> Float[Array, "B T N D"]:
        init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))
        kernel = param(self, "kernel", init, (self.width, *q.shape[2:]))
        return product("btnh,dnh->btnd", q, kernel.astype(q.dtype))


class PooledRelative(nn.Module):
    """((q + b)·k + (q + c)·r + (q + e)·s) / sqrt(H), r projected from the distance, s one of two vectors for the type.

    heads: N.  width: H, D / N if None.  reads: name of the memory from which keys and values are made; the stream
    itself where there is none of that name, as in all layers of a block but its first.  cls: whether pairs with the
    token at position 0 have the scores of distance and type ("counted") or none of them ("free").  drop: of attention
    weights. Without types in the context all tokens have the same type. Padding attends to segment 1, since it may be
    pooled with a token of it.

    It is not `attention` with a memory: its scores of distance and type need positions and types of queries and keys.
    """

    whole_row: ClassVar[str | None] = "pools neighbours of a whole row"
    mixes_all: ClassVar[bool] = False

    heads: Count
    width: Count | None = None
    reads: Literal["before"] | None = None
    cls: Literal["free", "counted"] = "free"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("pooled_relative", ctx, state)
        (N, H), D = self.sizes(x.shape[-1]), x.shape[-1]
        x = ctx.clean(x)
        there = ctx.memory.get(self.reads, Memory(x, ctx.keys, ctx.positions, ctx.types))
        q = Linear((N, H), bias=False, name="q")(x)
        k, v = (Linear((N, H), name=name)(there.x) for name in "kv")

        def biased(name):
            return q + param(self, name, nn.initializers.normal(0.02), (N, H)).astype(q.dtype)

        positions = [_positions(a, c) for a, c in ((x, ctx), (there.x, there))]
        asked = DistanceFactors(D, name="r")(biased("distance_bias"))
        table = param(self, "types", nn.initializers.normal(0.02), (2, N, H)).astype(q.dtype)
        terms = PooledTerms(
            *sides(asked * H**-0.5, *positions),
            of_type=product("btnh,snh->btns", biased("type_bias"), table * H**-0.5),
            types=tuple(
                jnp.zeros_like(at) if c.types is None else c.types
                for c, at in zip((ctx, there), positions, strict=True)
            ),
            counts=tuple((at != 0) | (self.cls == "counted") for at in positions),
        )
        segments = there.segments_for(x, ctx)
        if segments is not None:
            segments = (jnp.where(segments[0] > 0, segments[0], 1), segments[1])
        dropout = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
        y = attention(biased("key_bias"), k, v, segments=segments, bias=terms, dropout=dropout)
        return Linear(D, axes=2, name="o")(y), None

    def sizes(self, D: int) -> tuple[int, int]:
        """N and H for a model of width D; raises SpecError where they do not fit."""
        if self.heads < 1 or (self.width is None and D % self.heads):
            raise SpecError(f"pooled_relative: a width of {D} does not divide among {self.heads} heads; set width")
        if D % 2:
            raise SpecError(f"pooled_relative: sines and cosines need an even width, not {D}")
        if self.cls not in ("free", "counted"):
            raise SpecError(f"pooled_relative: cls is 'free' or 'counted', not {self.cls!r}")
        return self.heads, self.width or D // self.heads


def _positions(x: Float[Array, "B T D"], ctx: Context | Memory) -> Int[Array, "B T"]:
    return jnp.broadcast_to(jnp.arange(x.shape[1]) if ctx.positions is None else ctx.positions, x.shape[:2])
