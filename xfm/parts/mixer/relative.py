"""Relative attention of tokens and questions, whose scores depend on distance and on whether types are equal.

Dai et al. 2019 (Transformer-XL), section 3.3; Yang et al. 2019 (XLNet), section 2.3 for the two streams, section 2.5
for the types.
"""

import dataclasses
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, Mask, attention
from xfm.kernels.attention import Relative as InOrder
from xfm.kernels.platform import product
from xfm.parts.linear import Linear
from xfm.parts.mixer.relative_scores import FromPositions, Terms
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

SINES = freeze(dict(kind="relative_sines"))


class Relative(nn.Module):
    """((q + b)·k + (q + c)·r + (q + e)·s) / sqrt(H), r projected from the distance, s one of two vectors for the type.

    The embedding of kind "questions" describes what ctx.shared may hold. Tokens attend to tokens, and each to itself
    even where "unseen" is 1; questions attend to tokens, and nothing attends to a question. A query that attends to
    nothing returns zeros.
    The questions read the tokens as they are in this layer, so the tokens cannot be a memory.

    heads: N.  width: H, D / N if None.  types: "relative", or "none" for no such score.  drop: of attention weights.
    position: spec of a position that shares "relative".  position_drop: rate of dropout on the vectors that it shares.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    width: Count | None = None
    types: Literal["relative", "none"] = "relative"
    position: Spec = SINES
    drop: Rate = 0.0
    position_drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T+K D"], ctx: Context, state: None = None):
        if state is not None:
            raise SpecError("mixer 'relative' reads whole rows and has no state")
        (N, H), (B, length, D) = self.sizes(x.shape[-1]), x.shape
        asked, order, unseen = (ctx.shared.get(name) for name in ("asked", "order", "unseen"))
        T = length if asked is None else length - asked.shape[1]
        x = ctx.clean(x)
        q = Linear((N, H), bias=False, name="q")(x)
        k, v = (Linear((N, H), bias=False, name=name)(x[:, :T]) for name in "kv")
        r = Linear((N, H), bias=False, name="r")(self._distances(T, D, ctx).astype(x.dtype))
        to_key, to_distance = (q + self._bias(name, N, H).astype(q.dtype) for name in ("key_bias", "distance_bias"))
        of_type = self._of_type(q, ctx)
        own, keys = ctx.attending if ctx.heard is not None else (ctx.segments, ctx.segments)
        rows, position = jnp.arange(2 * T - 1), jnp.broadcast_to(jnp.arange(T), (B, T))

        def attend(start, stop, at, distance, ranks, unseen, mask, inside):
            """The output of the queries from `start` to `stop`, given a mask for the kernel and one for the bias."""
            terms = Terms(distance, ctx.shared.get("backward"), at, None, None, ranks, unseen, inside)
            if of_type is not None:
                terms = dataclasses.replace(terms, of_type=of_type[:, start:stop], types=ctx.types)
            segments = None if own is None else (own[:, start:stop], keys[:, :T])
            dropout = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
            return attention(
                to_key[:, start:stop], k, v, segments=segments, mask=mask, bias=terms, scale=H**-0.5, dropout=dropout
            )

        if unseen is not None:
            unseen = unseen > 0
        distance = InOrder(to_distance[:, :T], k, H**-0.5 * r, None, rows)
        others = None if unseen is None else unseen & ~jnp.eye(T, dtype=bool)
        ranks = None if order is None else (order + 1, order)
        y = attend(0, T, position, distance, ranks, others, ctx.mask, None)
        if asked is not None:
            if ctx.mask.pattern is not None or ctx.mask.everyone is not None:
                raise SpecError(
                    "mixer 'relative' masks for questions by order and window; leave pattern and everyone out"
                )
            distance = FromPositions(to_distance[:, T:], H**-0.5 * r, asked, rows)
            ranks = None if order is None else (jnp.take_along_axis(order, asked, axis=1), order)
            answer = attend(T, length, asked, distance, ranks, unseen, Mask.full(), ctx.mask)
            y = jnp.concatenate([y, answer], axis=1)
        return Linear(D, bias=False, axes=2, name="o")(y), None

    def sizes(self, D: int) -> tuple[int, int]:
        """N and H for a model of width D; raises SpecError where they do not fit."""
        if self.heads < 1 or (self.width is None and D % self.heads):
            raise SpecError(f"relative: a width of {D} does not divide among {self.heads} heads; set width")
        if self.types not in ("relative", "none"):
            raise SpecError(f"relative: types are 'relative' or 'none', not {self.types!r}")
        return self.heads, self.width or D // self.heads

    def _bias(self, name: str, N: int, H: int) -> Float[Array, "N H"]:
        return param(self, name, nn.initializers.normal(0.02), (N, H))

    def _distances(self, T: int, D: int, ctx: Context) -> Float[Array, "2*T-1 D"]:
        made = build(POSITIONS, self.position, name="position").share(ctx)
        if not hasattr(made.get("relative"), "of"):
            raise SpecError("mixer 'relative' needs a position that shares vectors of distances, as 'relative_sines'")
        vectors = made["relative"].of(jnp.arange(1 - T, T), D)
        return nn.Dropout(self.position_drop)(vectors, deterministic=not ctx.train)

    def _of_type(self, q: Float[Array, "B T+K N H"], ctx: Context) -> Float[Array, "B T+K N 2"] | None:
        """The scores of a key of the same type and of another; None where the batch has no types, all being equal."""
        if self.types == "none":
            return None
        N, H = q.shape[2:]
        table, bias = param(self, "types", nn.initializers.normal(0.02), (2, N, H)), self._bias("type_bias", N, H)
        if ctx.types is None:
            return None
        return product("btnh,snh->btns", q + bias.astype(q.dtype), H**-0.5 * table.astype(q.dtype))
