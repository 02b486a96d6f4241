"""A causal mixer made bidirectional: it runs over the row and over the reversed row.

Zhu et al., "Vision Mamba" (2024), section 3.3, and Schiff et al., "Caduceus" (2024), section 3.1:
both tie the projections of the two directions and add the outputs. Wang et al., "Is Mamba Effective
for Time Series Forecasting?" (2024), section 3.3: two mixers that share nothing, added.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError, nearest
from xfm.parts.linear import Linear
from xfm.spec import Spec, SpecError, build, lookup

PROJECTIONS = ("in", "out")  # the modules of a mixer that `share="projections"` ties


def reversed_row(ctx: Context) -> Context:
    """The context of the reversed row: what it and its mask know about each token, in reverse order."""

    def flipped(owner, *names):
        known = {name: getattr(owner, name) for name in names}
        return {name: v if v is None else jnp.flip(v, axis=1) for name, v in known.items()}

    mask = dataclasses.replace(ctx.mask, **flipped(ctx.mask, "prefix", "everyone"))
    return ctx.replace(mask=mask, **flipped(ctx, "positions", "segments", "heard", "types"))


class Bidirectional(nn.Module):
    """A mixer that reads the row up to t merged with one that reads it from the end down to t.

    mixer: spec of a causal mixer.  merge: how the two outputs join: "sum", "mean", or "concat",
    side by side and projected back to D by `merge/kernel`.  share: "none" for two sets of
    parameters (`forward`, `backward`), "projections" for one set of `in` and `out` (kept by
    `forward`), "all" for one set (`mixer`).

    It reads the future, in a causal context too, so it cannot stream and has no state. Raises XfmError if given one,
    and for an unknown merge or share.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    mixer: Spec
    merge: str = "sum"
    share: str = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], ctx: Context, state: None = None
    ) -> tuple[Float[Array, "B T D"], None]:
        if state is not None:
            raise XfmError(
                "mixer 'bidirectional' reads a row from both ends and cannot stream; "
                "give it state=None, or use its causal mixer alone."
            )
        onward, backward = self._directions()
        ahead, _ = onward(x, ctx)
        behind, _ = backward(jnp.flip(x, axis=1), reversed_row(ctx))
        behind = jnp.flip(behind, axis=1)
        if self.merge == "concat":
            both = jnp.concatenate([ahead, behind], axis=-1)
            return Linear(x.shape[-1], bias=False, name="merge")(both), None
        if self.merge not in MERGES:
            raise _unknown("merge", self.merge, (*MERGES, "concat"))
        return MERGES[self.merge](ahead, behind), None

    def _directions(self):
        """The mixers of the two directions."""
        if self.share == "all":
            mixer = build("mixer", self.mixer, name="mixer")
            return mixer, mixer
        if self.share not in ("none", "projections"):
            raise _unknown("share", self.share, ("none", "projections", "all"))
        onward = build("mixer", self.mixer, name="forward")
        if self.share == "none":
            return onward, build("mixer", self.mixer, name="backward")
        kind = self.mixer["kind"]
        tied = nn.map_variables(
            lookup("mixer", kind),
            "params",
            trans_in_fn=lambda variables: self._tied(variables, onward),
            trans_out_fn=_own,
            init=self.is_initializing(),
            mutable=self.is_initializing(),
        )
        return onward, build({kind: tied}, self.mixer, name="backward")

    def _tied(self, variables, onward):
        """The backward mixer's parameters with the projections of the forward one, which has run before."""
        params = onward.variables["params"]
        missing = [name for name in PROJECTIONS if name not in params]
        if missing:
            raise SpecError(
                f"mixer {self.mixer['kind']!r} has no module {missing[0]!r} to share; "
                'share="projections" needs both `in` and `out`.'
            )
        shared = {name: params[name] for name in PROJECTIONS}
        return {"params": {**variables.get("params", {}), **shared}}


def _own(variables):
    """The backward mixer's parameters without those that the forward one keeps."""
    params = variables.get("params", {})
    return {"params": {name: v for name, v in params.items() if name not in PROJECTIONS}}


MERGES = {
    "sum": lambda ahead, behind: ahead + behind,
    "mean": lambda ahead, behind: (ahead + behind) / 2,
}


def _unknown(field, value, legal):
    return SpecError(
        f"mixer 'bidirectional' has no {field} {value!r}{nearest(value, legal)}; it has {', '.join(legal)}."
    )
