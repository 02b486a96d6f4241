"""Hourglass: a stack whose repeated layers run over fewer, coarser positions than the layers before and after.

Clark, Garrette, Turc, Wieting, "CANINE: Pre-training an Efficient Tokenization-Free Encoder for Language
Representation", 2021, section 3; the treatment of padding follows the authors' program.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.spec import Pattern, Spec, SpecError, freeze
from xfm.structures.base import Layer, Structure
from xfm.structures.coarse import Down, Slots, Up, slots
from xfm.structures.period import Period, alone, depths_of, repeated, stacked, sublayers_of
from xfm.structures.stack import NO_HEADS, answers, dtype_of, one_text
from xfm.structures.sublayer import NO_NORMS, PLAIN

NORM = freeze(dict(kind="layernorm"))
REFUSAL = "an hourglass cut by 'row' takes one text a row; set cut='text'"


class Hourglass(Structure):
    """embed, `before`, down, `pattern` × `repeats`, up, `after`; the layers are data as they are in a Stack.

    rate: tokens per coarse position.  width: tokens that the convolution on the way up spans.
    norm, activation, drop: of the ways down and up.  heads: by name; those named in `coarse` read the coarse positions.
    norms, residual, remat, dtype: as in Stack.
    cut: "text" cuts each text of a row into windows by itself, without padding. A text interrupted by padding counts as
    two texts. A text of fewer than `rate` tokens has a coarse position too; a token for whose text the row has no room
    gives NaN.
    "row" cuts the whole row, as the authors' program does. Padding is then text that only attends, and that windows and
    convolutions include, so all mixers must be attention. Whether a coarse position is attended to depends on the
    window after its own. A row holds one text; several are an error where segments are known, and NaN inside jit.
    """

    whole_row: ClassVar[str | None] = "pools neighbours of a whole row"
    mixes_all: ClassVar[bool] = True

    embed: Spec
    pattern: Pattern
    repeats: Count = 1
    before: Sequence[Spec] = ()
    after: Sequence[Spec] = ()
    rate: Count = 4
    width: Count = 4
    activation: str = "gelu"
    norm: Spec = NORM
    drop: Rate = 0.0
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    cut: Literal["text", "row"] = "text"
    heads: Mapping[str, Spec] = NO_HEADS
    coarse: tuple[str, ...] = ()
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False) -> dict[str, Any]:
        """{"hidden": [B T D], "coarse": [B C D], and each head's output by its name}."""
        self._refuse_cells(batch)
        before, pattern, after = (
            sublayers_of(specs, self.norms, self.residual) for specs in (self.before, self.pattern, self.after)
        )
        self._check()
        padding = "text" if self.cut == "row" else "unknown"
        ctx = Context.of(batch, padding=padding, train=train, dtype=dtype_of(self.dtype))
        x, ctx = self._embedded(batch, ctx)
        texts = jnp.ones(x.shape[:2], jnp.int32) if ctx.segments is None or self.cut == "row" else ctx.segments
        x = one_text(x, ctx, REFUSAL) if self.cut == "row" else x
        where = slots(texts, self.rate)
        fine, inner = self._contexts(ctx, texts, where, ctx.real(x))

        (x, _), _ = Period(before, name="before")((x, None), fine, None, jnp.zeros(1))
        y = Down(self.rate, self.activation, self.norm, name="down")(x, where)
        y = repeated(pattern, *depths_of((self.repeats, 1)), self.remat)(y, inner).x
        x = Up(self.width, self.activation, self.norm, self.drop, name="up")(x, y, where, texts, ctx)
        (x, _), _ = Period(after, name="after")((x, None), fine, None, jnp.ones(1))

        coarse, others = ({n: h for n, h in self.heads.items() if (n in self.coarse) == at} for at in (True, False))
        made = answers(coarse, y, inner.replace(heard=None, at=None), {})
        return {"hidden": x, "coarse": y, **answers(others, x, ctx, batch, made)}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        before, pattern, after = (
            sublayers_of(specs, self.norms, self.residual) for specs in (self.before, self.pattern, self.after)
        )
        middle = stacked("layers", pattern, self.repeats, "layer")
        return [*alone("before", before, "before"), *middle, *alone("after", after, "after")]

    def _contexts(self, ctx: Context, texts, where: Slots, real: Bool[Array, "B T"]) -> tuple[Context, Context]:
        """The contexts of the layers: over tokens, and over coarse positions."""
        ctx = ctx.replace(embedding=None)
        inner = ctx.replace(segments=where.segments, positions=where.position)
        if self.cut == "text" or ctx.segments is None:
            return ctx, inner
        C = where.at.shape[1]
        rate = min(self.rate, real.shape[1])
        heard = real[:, : C * rate].reshape(-1, C, rate).any(axis=2)
        return ctx.replace(segments=texts, heard=real), inner.replace(heard=heard)

    def _check(self) -> None:
        if self.rate < 2 or self.width < 1 or self.cut not in ("text", "row"):
            raise SpecError(
                "an hourglass has a rate of 2 or more, a width of 1 or more, and is cut by 'text' or by 'row', not "
                f"{self.rate}, {self.width} and {self.cut!r}"
            )
