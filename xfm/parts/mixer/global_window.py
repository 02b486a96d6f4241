"""Attention within a window, and to and from a few tokens that see all and are seen by all.

Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020, section 3.1. Memory is linear in length.
Time is too where no token is global; where some are, every score is formed and those outside the pattern dropped.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, Mask, attention
from xfm.parts.linear import Linear
from xfm.parts.mixer.texts import places_and_lengths
from xfm.spec import SpecError


def first_of_segments(segments: Int[Array, "B T"] | None, x: Float[Array, "B T D"]) -> Bool[Array, "B T"]:
    """Which tokens are the first of their segment."""
    B, T = x.shape[:2]
    if segments is None:
        return jnp.broadcast_to(jnp.arange(T) == 0, (B, T))
    return (places_and_lengths(segments)[0] == 0) & (segments > 0)


class GlobalWindow(nn.Module):
    """Attention of N heads; a global token asks and is answered through projections of its own.

    heads: N.  window: W tokens, W / 2 on either side.  everyone: which tokens are global, "given" by the batch's
    "global" (none where it has none) or the "first" of each text.  drop: rate of dropout on the attention weights.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    window: Count
    everyone: Literal["given", "first"] = "given"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        if state is not None:
            raise XfmError("mixer 'global_window' keeps no state; give it state=None")
        self._check(D := x.shape[-1])
        x = ctx.clean(x)
        whole = [Linear((self.heads, D // self.heads), name=f"{n}_global") for n in ("q", "k", "v")]
        near = [Linear((self.heads, D // self.heads), name=n) for n in ("q", "k", "v")]

        def attend(maps, **where):
            q, k, v = (project(x) for project in maps)
            drop = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
            return attention(q, k, v, segments=ctx.attending, dropout=drop, **where)

        reach = self.window // 2
        marks = self._marks(x, ctx)
        y = attend(near, mask=ctx.mask & Mask.window(reach, reach, everyone=marks))
        if marks is not None:
            y = jnp.where(marks[..., None, None], attend(whole, mask=ctx.mask), y)
        return Linear(D, axes=2, name="o")(y), None

    def _marks(self, x, ctx: Context) -> Bool[Array, "B T"] | None:
        if self.everyone == "first":
            return first_of_segments(ctx.segments, x)
        none = jnp.zeros(x.shape[:2], bool) if self.is_initializing() else None  # so that all parameters are made
        return ctx.shared.get("global", none)

    def _check(self, D: int) -> None:
        if self.heads < 1 or D % self.heads:
            raise SpecError(f"global_window: a width of {D} does not divide among {self.heads} heads")
        if self.window < 2 or self.window % 2:
            raise SpecError(f"global_window: window is an even number of tokens, 2 or more, not {self.window}")
        if self.everyone not in ("given", "first"):
            raise SpecError(f"global_window: everyone is 'given' or 'first', not {self.everyone!r}")
