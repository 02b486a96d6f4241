"""Attention within a window, and to and from a few tokens that attend to all and that all attend to.

Beltagy, Peters, Cohan, "Longformer: The Long-Document Transformer", 2020, section 3.1. Time and memory are linear in
length where few tokens are global, as `GlobalWindow.most` says.
"""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import Mask
from xfm.kernels.counting import included, stated
from xfm.parts.sight.base import Attend, Projected, Sight, fit, texts
from xfm.parts.texts import positions_and_lengths
from xfm.spec import SpecError


def answered(
    whole: Projected, marks: Bool[Array, "B T"], most: int, attend: Attend, ctx: Context
) -> tuple[Array, Float[Array, "B most N H"]]:
    """The row indices of the marked tokens, T where there are fewer than `most`, and what they gather from all."""
    T = marks.shape[1]
    index = jax.vmap(lambda row: jnp.nonzero(row, size=most, fill_value=T)[0])(marks)
    own = texts(ctx, whole.q)
    keys = attend.segments[1] if isinstance(attend.segments, tuple) else own
    queries = jnp.take_along_axis(own, index, axis=1, mode="fill", fill_value=0)
    q = jnp.take_along_axis(whole.q, index[..., None, None], axis=1, mode="fill", fill_value=0)
    return index, attend(whole._replace(q=q), segments=(queries, keys))


class GlobalWindow(Sight):
    """A token attends to a window and to global tokens; a global token attends to all, by projections named "global".

    window: W tokens, W / 2 on either side.  everyone: which tokens are global, "given" by the batch's "global" (none
    where it has none) or the "first" of each text.
    most: with up to so many global tokens in a row only the scores of the window and of these tokens are formed, if the
    context is not causal and the position adds no bias. Otherwise all scores are formed, which changes no number.
    """

    further: ClassVar[tuple[str, ...]] = ("global",)

    window: Count
    everyone: Literal["given", "first"] = "given"
    most: Count = 64

    def __call__(self, projections, attend, ctx):
        if self.window < 2 or self.window % 2:
            raise SpecError(f"global_window: window is an even number of tokens, 2 or more, not {self.window}")
        own, whole = projections[""], projections["global"]
        near, marks, T = Mask.window(self.window // 2, self.window // 2), self._marks(own.q, ctx), own.q.shape[1]
        if marks is None:
            return attend(own, mask=ctx.mask & near)

        def every_score():
            y = attend(own, mask=ctx.mask & dataclasses.replace(near, everyone=marks))
            return jnp.where(marks[..., None, None], attend(whole), y)

        def few_scores():
            y = attend(own, mask=dataclasses.replace(near, everyone=marks, most=self.most, lifts="keys"))
            index, far = answered(whole, marks, self.most, attend, ctx)
            return jax.vmap(lambda y, index, far: y.at[index].set(far, mode="drop"))(y, index, far)

        with included():
            if self.most >= T or attend.bias is not None or not ctx.mask.shows_all:
                y = every_score()
            elif self.everyone == "first" and ctx.segments is None:
                y = few_scores()
            else:
                y = jax.lax.cond(fit(marks, self.most), few_scores, every_score)
        marked = 1 if self.everyone == "first" else self.most
        return stated(y, 4 * min(T, self.window + 1 + 2 * marked))  # as keys of all, and as queries of all

    def _marks(self, q: Float[Array, "B T N H"], ctx: Context) -> Bool[Array, "B T"] | None:
        if self.everyone == "first":
            segments = texts(ctx, q)
            return (positions_and_lengths(segments)[0] == 0) & (segments > 0)
        return ctx.shared.get("global")
