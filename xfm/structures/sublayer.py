"""The sublayer: the one equation by which a part joins the stream."""

from collections.abc import Mapping

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Label
from xfm.parts.ffn import FFNS
from xfm.parts.mixer import MIXERS
from xfm.parts.norm import NORMS
from xfm.parts.residual import RESIDUALS
from xfm.spec import Spec, SpecError, build, freeze

PLACES = ("in", "residual", "out")
NO_NORMS = freeze({})
PLAIN = freeze(dict(kind="plain"))


def parts() -> dict[str, type]:
    """The kinds that a sublayer may have; read anew each time, so that kinds added to a slot's table are found."""
    return {**MIXERS, **FFNS}


class Sublayer(nn.Module):
    """y = out_norm(skip · x + gate · drop(residual_norm(part(in_norm(x))))), an absent norm being the identity.

    part: one spec, or several branches that share the normed input and whose outputs are added (parallel blocks: Wang,
    Komatsuzaki 2021). A branch may be {"part": spec, "norms": …} with norms of its own at "in" and "residual".
    norms: pre-norm is {"in"}, post-norm {"out"}, sandwich and peri-norm {"in", "residual"}.
    residual: spec of the residual slot, which owns skip, gate and drop. No part knows any of this.
    label: the first word of the sublayer's name in parameter paths, before its number; the part's kind if None.
    """

    part: Spec | tuple[Spec, ...]
    norms: Mapping[str, Spec] = NO_NORMS
    residual: Spec = PLAIN
    label: Label | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        def norm(place, h, norms=self.norms, of=""):
            return build(NORMS, norms[place], name=f"{of}{place}_norm")(h) if place in norms else h

        for place in self.norms:
            if place not in PLACES:
                raise SpecError(f"a sublayer has norms at {', '.join(PLACES)}; there is no place {place!r}")
        h = norm("in", x)
        if isinstance(self.part, tuple):
            states = (None,) * len(self.part) if state is None else state
            outputs, after = [], []
            for i, (branch, own) in enumerate(zip(self.part, states, strict=True)):
                spec, norms = branched(branch)
                y, own = _part(spec, f"part_{i}", ctx)(norm("in", h, norms, f"part_{i}_"), ctx, own)
                outputs.append(norm("residual", y, norms, f"part_{i}_"))
                after.append(own)
            y, state = sum(outputs[1:], outputs[0]), tuple(after)
        else:
            y, state = _part(self.part, "part", ctx)(h, ctx, state)
        x = build(RESIDUALS, self.residual, name="skip")(x, norm("residual", y), ctx)
        return norm("out", x), state

    @nn.nowrap
    def init_state(self, batch: int, length: int, width: int, dtype):
        """The empty state of each part, None for one that needs none. Raises SpecError for a mixer without one."""

        def empty(spec):
            part = build(parts(), spec, parent=None)
            if hasattr(part, "init_state"):
                return part.init_state(batch, length, width, dtype)
            if hasattr(part, "mixes_all"):
                raise SpecError(
                    f"mixer {spec['kind']!r} keeps no state, so a stack with it does not read piece by piece"
                )
            return None

        return tuple(empty(branched(one)[0]) for one in self.part) if isinstance(self.part, tuple) else empty(self.part)


def branched(sublayer: Spec) -> tuple[Spec, Mapping[str, Spec]]:
    """The part of a branch and its norms; raises SpecError for what else a branch cannot have."""
    if "part" not in sublayer:
        return sublayer, NO_NORMS
    norms = sublayer.get("norms", NO_NORMS)
    for field in {*sublayer} - {"part", "norms"}:
        raise SpecError(f"a branch of a sublayer has a part and norms, and no field {field!r}; give it to the sublayer")
    for place in {*norms} - {"in", "residual"}:
        raise SpecError(f"a branch of a sublayer has norms at in, residual; there is no place {place!r}")
    return sublayer["part"], norms


def _part(spec: Spec, name: str, ctx: Context) -> nn.Module:
    """The part; raises SpecError where some tokens only attend and it cannot mask them or does not say so."""
    part = build(parts(), spec, name=name)
    if ctx.heard is None or spec["kind"] in FFNS:
        return part
    if not hasattr(part, "mixes_all"):
        raise SpecError(
            f"part {spec['kind']!r} does not say whether it can mask tokens that only attend (batch['heard']); give "
            f"{type(part).__name__} a class attribute mixes_all, False where tokens meet in attention alone"
        )
    if part.mixes_all:
        ctx.refuse_heard(f"part {spec['kind']!r}")
    return part
