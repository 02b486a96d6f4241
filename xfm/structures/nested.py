"""Nested: a stack over sentences, in whose every layer a smaller one runs over the words of each sentence.

Han, Xiao, Wu, Guo, Xu, Wang, "Transformer in Transformer", 2021, equations 2 to 7. The norms around the map from words
to sentences follow the authors' program.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import nearest
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Pattern, Spec, SpecError, build, freeze
from xfm.structures.base import Layer, Structure
from xfm.structures.period import REMAT, SOWN, Period, depths_of, stacked, sublayers_of
from xfm.structures.stack import NO_HEADS, answers, dtype_of
from xfm.structures.sublayer import NO_NORMS, PLAIN

NO_POSITION = freeze(dict(kind="none"))
LAYERNORM = freeze(dict(kind="layernorm"))


class Joined(nn.Module):
    """norm(W · norm(words of a sentence, side by side)): [B·n m C] -> [B n width], B being the rows of `like`."""

    width: int
    norm: Spec | None
    bias: bool

    @nn.compact
    def __call__(self, words: Float[Array, "rows m C"], ctx: Context, batch: int) -> Float[Array, "B n width"]:
        def normed(name, x):
            return x if self.norm is None else build(NORMS, self.norm, name=name)(x)

        x = ctx.replace(padding="unknown").clean(words).reshape(batch, -1, words.shape[1] * words.shape[2])
        return normed("out_norm", Linear(self.width, self.bias, name="out")(normed("in_norm", x)))


class NestedLayer(nn.Module):
    """The words' sublayers, the map that adds them to their sentences, and the sentences' sublayers."""

    inner: tuple[Spec, ...]
    outer: tuple[Spec, ...]
    join_norm: Spec | None

    @nn.compact
    def __call__(self, carried, inside: Context, ctx: Context, depths: Float[Array, "1"]):
        words, sentences = carried
        (words, _), _ = Period(self.inner, name="inner")((words, None), inside, None, depths)
        B, T, D = sentences.shape
        made = Joined(D, self.join_norm, bias=False, name="join")(words, inside, B)
        sentences += jnp.pad(made, ((0, 0), (T - made.shape[1], 0), (0, 0)))
        (sentences, _), _ = Period(self.outer, name="outer")((sentences, None), ctx, None, depths)
        return (words, sentences), None


class Nested(Structure):
    """embed, which makes words; then `repeats` layers, each `inner` over words and `pattern` over sentences.

    words: m, how many consecutive tokens of the embedding are one sentence.  width: D of the sentences.
    cls: learned sentences put first.  position: spec of a position that is added to the sentences, cls included.
    join_norm: before and after each map from words to sentences, none if None.  drop: of the first sentences.
    norms, residual: of all sublayers.  norm: after the last layer.  heads, remat, dtype: as in Stack.
    """

    whole_row: ClassVar[str | None] = "cuts a whole row into sentences"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    words: Count
    width: Count
    inner: Pattern
    pattern: Pattern
    repeats: Count = 1
    cls: CountOrZero = 1
    position: Spec = NO_POSITION
    join_norm: Spec | None = LAYERNORM
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    norm: Spec | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    drop: Rate = 0.0
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B sentences D], and each head's output by its name}."""
        self._refuse_cells(batch)
        if self.remat not in REMAT:
            raise SpecError(f"no remat {self.remat!r}{nearest(self.remat, REMAT)}; there are {', '.join(REMAT)}")
        words, ctx = self._embedded(batch, Context.of(batch, train=train, dtype=dtype_of(self.dtype)))
        B, T, C = words.shape
        if T % self.words:
            raise SpecError(f"structure 'nested' has sentences of {self.words} words, which do not divide {T} tokens")
        words, (inside, ctx) = words.reshape(-1, self.words, C), self._contexts(ctx, B)
        x = Joined(self.width, self.join_norm, bias=True, name="join")(words, inside, B)
        if self.cls:
            first = param(self, "cls", nn.initializers.normal(0.02), (1, self.cls, self.width)).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(first, (B, *first.shape[1:])), x], axis=1)
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        x = nn.Dropout(self.drop)(x, deterministic=not train)

        layer = (
            NestedLayer if self.remat == "none" else nn.remat(NestedLayer, prevent_cse=False, policy=REMAT[self.remat])
        )
        layers = nn.scan(
            layer,
            variable_axes={"params": 0, SOWN: 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast, 0),
            length=self.repeats,
            check_constancy_invariants=False,  # the check would trace every layer a second time
        )(*self._sublayers(), self.join_norm, name="layers")
        (depths,) = depths_of((self.repeats, 1))
        (_, x), _ = layers((words, x), inside, ctx, depths)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        return {"hidden": x, **answers(self.heads, x, ctx, batch)}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        inner, outer = self._sublayers()
        found = [*stacked("layers/inner", inner, self.repeats, "layer")]
        found += stacked("layers/outer", outer, self.repeats, "layer")
        return sorted(found, key=lambda layer: layer.index)  # stable: words before sentences in each layer

    def _sublayers(self) -> tuple[tuple[Spec, ...], tuple[Spec, ...]]:
        return tuple(sublayers_of(specs, self.norms, self.residual) for specs in (self.inner, self.pattern))

    def _contexts(self, ctx: Context, rows: int) -> tuple[Context, Context]:
        """The context of the words of each sentence, and that of the sentences with cls."""
        known = dict(train=ctx.train, dtype=ctx.dtype, padding="finite")
        if ctx.segments is None:
            return Context(**known), Context(grid=ctx.grid, **known)
        own = ctx.segments.reshape(-1, self.words)
        each = own.max(axis=1).reshape(rows, -1)
        each = jnp.concatenate([jnp.broadcast_to(each.max(1, keepdims=True), (rows, self.cls)), each], axis=1)
        return Context(segments=own, **known), Context.of({"segments": each}, grid=ctx.grid, **known)
