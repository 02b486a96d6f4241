"""Stack: embedding, layers as data, norm and heads, in the order in which the network runs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context, Mask
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.kernels.platform import platform
from xfm.parts.head import HEADS
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Pattern, Spec, SpecError, build, freeze
from xfm.structures.base import Layer, Structure
from xfm.structures.heads import heads_read
from xfm.structures.period import Period, alone, depths_of, repeated, stacked, sublayers_of
from xfm.structures.sublayer import NO_NORMS, PLAIN, Sublayer
from xfm.structures.tokens import check_unpadded, laid, mapped, repad

NO_HEADS = freeze({})


class Stack(Structure):
    """prologue, then `pattern` × `repeats`, then epilogue; each entry is the spec of a mixer or of an ffn.

    An entry may instead be a whole sublayer, {"part": spec, "norms": …, "residual": …}, to differ from the stack's
    own `norms` and `residual`. The repeats are one compiled loop (nn.scan) with parameters stacked along a leading
    axis; with repeats=1 the pattern is the network. loops: how often each repeat runs, with the same parameters (ALBERT
    has one repeat and 12 loops). norm: after the last layer.  out: width of a linear map after that, none if None
    (Zhang et al. 2022, OPT-350M).  heads: by name.
    position: spec of a position that all layers share (T5); their own position is then of kind "shared".
    Layers find the embedding's output in ctx.shared as "embedded".
    mask: "full", or "causal", in which batch["prefix"] [B T] may mark tokens that are visible to all.
    Where batch["cells"] describes how its texts are laid out without padding (see xfm.data.layout), the embedding and
    the layers compute the rows of that layout; hidden and the heads' input are put back into padded rows, with zeros in
    padding.
    taps: runs of the pattern, counted from 1 to repeats · loops, after which the stream is an output too, such as
    "layer_3" for 3, and 0 for the stream before the first. No other stream is kept for this.
    tapped: what a tap gives, the "stream" [B T D], the "map" [B h w D] of its patches, which a detector reads, or the
    "normed_map", after the stack's own norm (Oquab et al. 2023, DINOv2, as a backbone).
    remat: what the backward pass keeps of a period, a name of REMAT.
    dtype: in which parts compute; bfloat16 on accelerators and float32 on a CPU if None.
    """

    embed: Spec
    pattern: Pattern
    repeats: Count = 1
    loops: Count = 1
    prologue: Sequence[Spec] = ()
    epilogue: Sequence[Spec] = ()
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    position: Spec | None = None
    norm: Spec | None = None
    out: Count | None = None
    heads: Mapping[str, Spec] = NO_HEADS
    mask: Literal["full", "causal"] = "full"
    taps: tuple[CountOrZero, ...] = ()
    tapped: Literal["stream", "map", "normed_map"] = "stream"
    remat: str = "none"
    dtype: str | None = None

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], *, train: bool = False, state: Any = None) -> dict[str, Any]:
        """{"hidden": [B T D], "layer_3": [B T D], … of the taps, and each head's output by its name}.

        With a state, the state after the batch is in "state", and the batch has positions, which continue those before.
        """
        given, batch = batch, self._laid(batch, state)
        ctx = self._context(batch, train)
        x, ctx = self._embedded(batch, ctx)
        if self.position is not None:
            made = build(POSITIONS, self.position, name="position").share(ctx)
            ctx = ctx.replace(relative=made)
        inner = ctx.replace(embedding=None, shared={**ctx.shared, "embedded": x})
        state = state or dict.fromkeys(("prologue", "layers", "epilogue"))

        def run(name, specs, x, depth, states):
            (x, _), states = Period(self._sublayers(specs), name=name)((x, None), inner, states, jnp.full(1, depth))
            return x, states

        x, first = run("prologue", self.prologue, x, 0.0, state["prologue"])
        (depths,) = depths_of((self.repeats, self.loops))
        layers = repeated(self._sublayers(self.pattern), depths, self.remat, [i for i in self._taps() if i])
        entered = [x] if 0 in self.taps else []
        x, middle, taps = layers(x, inner, state["layers"])
        taps = [*entered, *taps]
        x, last = run("epilogue", self.epilogue, x, 1.0, state["epilogue"])

        if self.norm is not None:
            norm = build(NORMS, self.norm, name="norm")
            x, taps = norm(x), [norm(a) for a in taps] if self.tapped == "normed_map" else taps
        if self.out is not None:
            x = Linear(self.out, bias=False, name="out")(x)
        if "cells" in given:
            x, *taps = (repad(a, given["cells"], given["tokens"].shape) for a in (x, *taps))
            own = self._context(given, train)
            known = dict(embedding=ctx.embedding, relative=ctx.relative, padding=ctx.padding)
            ctx = own.replace(shared={**ctx.shared, **own.shared}, **known)
        taps = taps if self.tapped == "stream" else [mapped(a, ctx) for a in taps]
        out = answers(self.heads, x, ctx, given)
        if state["layers"] is not None:
            out["state"] = dict(prologue=first, layers=middle, epilogue=last)
        return {"hidden": x, **{f"layer_{i}": a for i, a in zip(self._taps(), taps, strict=True)}, **out}

    @nn.nowrap
    def sublayers(self) -> list[Layer]:
        first, last = (
            alone(name, self._sublayers(specs), "layer")
            for name, specs in (("prologue", self.prologue), ("epilogue", self.epilogue))
        )
        return [*first, *stacked("layers", self._sublayers(self.pattern), self.repeats, "layer"), *last]

    @nn.nowrap
    def init_state(self, batch: int, length: int) -> dict[str, Any]:
        """An empty state for reading up to `length` tokens piece by piece; the mask must be causal."""
        if self.loops != 1:
            raise SpecError(
                f"a stack that loops its layers does not read piece by piece; this one has loops={self.loops}"
            )
        if self.mask != "causal":
            raise SpecError("only a causal stack reads piece by piece; this one has mask='full'")

        size = batch, length, self._embedding().width, self._dtype()

        def empty(specs):
            return tuple(Sublayer(**sublayer, parent=None).init_state(*size) for sublayer in self._sublayers(specs))

        layers = jax.tree.map(lambda a: jnp.repeat(a[None], self.repeats, axis=0), empty(self.pattern))
        return dict(prologue=empty(self.prologue), layers=layers, epilogue=empty(self.epilogue))

    def _laid(self, batch, state):
        """The batch in the layout that the embedding and the layers read, unchanged where its rows are padded."""
        if "cells" not in batch:
            if state is not None and "positions" not in batch:
                raise SpecError(
                    "a stack that reads piece by piece needs batch['positions'], which continue from the last"
                )
            return batch
        if state is not None:
            raise SpecError("a stack reads piece by piece from padded rows only; leave 'cells' out of the batch")
        check_unpadded(self.embed, self.prologue, self.pattern, self.epilogue, self.residual)
        return laid(batch)

    def _context(self, batch, train) -> Context:
        if self.mask not in ("full", "causal"):
            raise SpecError(f"a stack's mask is 'full' or 'causal', not {self.mask!r}")
        mask = Mask.causal(batch.get("prefix")) if self.mask == "causal" else Mask.full()
        return Context.of(batch, mask=mask, train=train, dtype=self._dtype())

    def _taps(self) -> list[int]:
        """The taps in order; raises SpecError for one beyond the last layer."""
        taps, last = sorted(set(self.taps)), self.repeats * self.loops
        if taps and taps[-1] > last:
            raise SpecError(
                f"a stack of {last} layers (repeats · loops) has no layer {taps[-1]}; set taps to 0 … {last}"
            )
        return taps

    def _dtype(self):
        return dtype_of(self.dtype)

    def _sublayers(self, specs) -> tuple[Spec, ...]:
        return sublayers_of(specs, self.norms, self.residual)


def answers(
    heads: Mapping[str, Spec], x: Array, ctx: Context, batch: Mapping[str, Array], made: Mapping[str, Array] = NO_HEADS
) -> dict[str, Array]:
    """The output of each head, "head_NAME" of the calling module, for x; those that read another head run last.

    made: outputs of heads that ran before, over another stream; they are included.
    """
    out = dict(made)
    for name, spec in sorted(heads.items(), key=lambda head: bool(heads_read(head[1]))):
        known = ctx.replace(tokens=batch.get("tokens"), heads=dict(out))
        out[name] = build(HEADS, spec, name=f"head_{name}")(x, known)
    return out


def one_text(x: Float[Array, "B T D"], ctx: Context, refusal: str) -> Float[Array, "B T D"]:
    """x, with NaN in rows of several texts; raises XfmError with the refusal where values are known (outside jit)."""
    if ctx.segments is None:
        return x
    several = ctx.segments.max(axis=1) > 1
    if not isinstance(several, jax.core.Tracer) and several.any():
        raise XfmError(f"row {int(jnp.argmax(several))} holds several texts, and {refusal}")
    return jnp.where(several[:, None, None], jnp.nan, x)


def dtype_of(name: str | None) -> jnp.dtype:
    """The dtype of that name, in which parts compute; bfloat16 on accelerators and float32 on a CPU if None."""
    name = name or ("float32" if platform() == "cpu" else "bfloat16")
    if name not in DTYPES:
        raise SpecError(f"a stack's dtype is one of {', '.join(DTYPES)}, not {name!r}")
    return jnp.dtype(name)


DTYPES = ("float32", "bfloat16", "float16", "float64")
