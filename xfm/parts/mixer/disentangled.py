"""Disentangled attention: what a token says and how far away it stands meet in separate scores.

He, Liu, Gao, Chen, "DeBERTa: Decoding-Enhanced BERT with Disentangled Attention" (2021), section 3.1. That the maps
of the content may read the table, and that both terms read the row of t - s, is so in the files of the authors.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, Relative, attention
from xfm.parts.linear import Linear
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

SHARED = freeze(dict(kind="shared"))
TERMS = ("c2p", "p2c")


class OfDistance(nn.Module):
    """Keys and queries of the table's own: projections `k` (for c2p) and `q` (for p2c)."""

    features: tuple[int, int]
    terms: tuple[str, ...]
    key_bias: bool

    @nn.compact
    def __call__(self, table: Float[Array, "rows D"]):
        key = Linear(self.features, self.key_bias, name="k")(table) if "c2p" in self.terms else None
        return key, Linear(self.features, name="q")(table) if "p2c" in self.terms else None


class Disentangled(nn.Module):
    """Attention with up to three scores of a pair: content's, and the `terms` with a vector of its distance.

    heads: N.  width: H, D / N if None.  terms: of "c2p" (the query meets the distance) and "p2c" (the key does).
    maps: of q, k and v, three that stand "apart", or one per head that is "fused" and has no bias of keys (v1).
    keys: whether the table of distances has its "own" projections or those "shared" with the content, if apart.
    position: spec that shares the table as "relative".  drop: of attention weights.  position_drop: of the table.
    memory: name of what ctx.memory holds for keys and values to be made of, the stream itself if None. It stands for
    the stream's own tokens, since the distances are between these: positions and mask are the stream's.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    width: Count | None = None
    terms: tuple[str, ...] = TERMS
    maps: Literal["apart", "fused"] = "apart"
    keys: Literal["own", "shared"] = "own"
    position: Spec = SHARED
    drop: Rate = 0.0
    position_drop: Rate = 0.0
    memory: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        (N, H), D = self.sizes(x.shape[-1]), x.shape[-1]
        if state is not None:
            raise SpecError("disentangled attention reads whole rows and has no state")
        x = ctx.clean(x)
        seen, segments = x, ctx.attending
        if self.memory is not None:
            memory = ctx.remembered(self.memory, "disentangled attention")
            seen, segments = memory.x, memory.segments_for(x, ctx)
            if seen.shape != x.shape:
                raise SpecError(
                    f"disentangled: a memory of shape {seen.shape} does not stand for a stream of shape {x.shape}; the "
                    "distances are between tokens of one row"
                )
        if self.maps == "fused":
            qkv = Linear((N, 3 * H), bias=False, name="qkv")
            q, k, v = jnp.split(qkv(seen), 3, axis=-1)
            q = q if self.memory is None else jnp.split(qkv(x), 3, axis=-1)[0]
            q += self.param("q_bias", nn.initializers.zeros, (N, H)).astype(x.dtype)
            v += self.param("v_bias", nn.initializers.zeros, (N, H)).astype(x.dtype)
        else:
            q_of, k_of, v_of = (Linear((N, H), name=name) for name in "qkv")
            q, k, v = q_of(x), k_of(seen), v_of(seen)
        scale = (H * (1 + len(self.terms))) ** -0.5
        bias = None
        if self.terms:
            distances = self._distances(D, ctx)
            table = nn.Dropout(self.position_drop)(distances.table, deterministic=not ctx.train)
            if self.keys == "shared":
                of_key = k_of(table) if "c2p" in self.terms else None
                of_query = q_of(table) if "p2c" in self.terms else None
            else:
                of_key, of_query = OfDistance((N, H), self.terms, self.maps == "apart", name="distance")(table)
            scaled = (a if a is None else scale * a for a in (of_key, of_query))
            bias = Relative(q, k, *scaled, jnp.asarray(distances.rows(x.shape[1])))
        dropout = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
        y = attention(q, k, v, segments=segments, mask=ctx.mask, bias=bias, scale=scale, dropout=dropout)
        return Linear(D, axes=2, name="o")(y), state

    def sizes(self, D: int) -> tuple[int, int]:
        """N and H for a model of width D; SpecError where they or the terms do not fit."""
        if self.heads < 1 or (self.width is None and D % self.heads):
            raise SpecError(f"disentangled: a width of {D} does not divide among {self.heads} heads; set width")
        if len(set(self.terms)) < len(self.terms) or not set(self.terms) <= set(TERMS):
            raise SpecError(f"disentangled: terms are of {', '.join(TERMS)}, each once, and not {tuple(self.terms)}")
        if self.maps == "fused" and self.keys == "shared":
            raise SpecError("disentangled: keys='shared' reads the maps of q and k, which maps='fused' does not have")
        return self.heads, self.width or D // self.heads

    def _distances(self, D: int, ctx: Context):
        made = build(POSITIONS, self.position, name="position").share(ctx)
        if "relative" not in made:
            raise SpecError("disentangled attention needs a position that shares its table, such as 'relative_table'")
        width = made["relative"].table.shape[1]
        if width != D:
            raise SpecError(f"disentangled: the table of distances has width {width}, and the stream {D}")
        return made["relative"]
