"""Disentangled attention: separate scores for the content of tokens and for their relative position are added.

He, Liu, Gao, Chen, "DeBERTa: Decoding-Enhanced BERT with Disentangled Attention" (2021), section 3.1. As in the files
of the authors, the maps of the content may also be applied to the table, and both terms read its row of t - s.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, Relative, attention
from xfm.parts.linear import Linear
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

SHARED = freeze(dict(kind="shared"))
TERMS = ("c2p", "p2c")


class OfDistance(nn.Module):
    """The table's own projections to keys (`k`, for c2p) and queries (`q`, for p2c), None for an absent term."""

    features: tuple[int, int]
    terms: tuple[str, ...]
    key_bias: bool

    @nn.compact
    def __call__(self, table: Float[Array, "rows D"]):
        key = Linear(self.features, self.key_bias, name="k")(table) if "c2p" in self.terms else None
        return key, Linear(self.features, name="q")(table) if "p2c" in self.terms else None


class Disentangled(nn.Module):
    """Attention whose score of two tokens is the sum of their content score and of the `terms` for their distance.

    heads: N.  width: H, D / N if None.  terms: any of "c2p" (the query times the distance's key) and "p2c" (the key
    times the distance's query).
    maps: to q, k and v, three "apart", or one that is "fused" and gives keys no bias (v1).
    keys: whether the table of distances has its "own" projections, or with maps apart those "shared" with the content.
    position: spec of a position that shares the table as "relative".  drop, position_drop: rates of dropout on the
    attention weights and on the table.
    memory: name of the entry of ctx.memory from which keys and values are made, the stream itself if None. It has to
    hold the same tokens as the stream, whose positions and mask apply to it.
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
        source, segments = x, ctx.attending
        if self.memory is not None:
            memory = ctx.remembered(self.memory, "disentangled attention")
            source, segments = memory.x, memory.segments_for(x, ctx)
            if source.shape != x.shape:
                raise SpecError(
                    f"disentangled: a memory of shape {source.shape} does not stand for a stream of shape {x.shape}; "
                    "the distances are between tokens of one row"
                )
        if self.maps == "fused":
            qkv = Linear((N, 3 * H), bias=False, name="qkv")
            q, k, v = jnp.split(qkv(source), 3, axis=-1)
            q = q if self.memory is None else jnp.split(qkv(x), 3, axis=-1)[0]
            q += param(self, "q_bias", nn.initializers.zeros, (N, H)).astype(x.dtype)
            v += param(self, "v_bias", nn.initializers.zeros, (N, H)).astype(x.dtype)
        else:
            q_of, k_of, v_of = (Linear((N, H), name=name) for name in "qkv")
            q, k, v = q_of(x), k_of(source), v_of(source)
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
        """N and H for a model of width D; raises SpecError where they or the terms do not fit."""
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
