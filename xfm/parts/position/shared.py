"""The bias, or the vectors to add, that a stack's own position makes once for all layers.

Raffel et al. 2020 (T5), section 2.1; Yu et al. 2023 (LaPE), whose layers add the positions anew.
"""

from typing import Any

from jaxtyping import Array, Float

from xfm.context import Context
from xfm.kernels.attention import Bias
from xfm.parts.position.base import Position
from xfm.spec import SpecError


class Shared(Position):
    """The bias on scores that the stack's `position` shares, or in mixer 'positioned' the vectors that it adds."""

    def add(self, x: Float[Array, "#B T D"], ctx: Context) -> Float[Array, "#B T D"]:
        return x + ctx.relative["added"].astype(x.dtype) if "added" in ctx.relative else x

    def bias(self, heads: int, ctx: Context) -> Bias:
        if "bias" not in ctx.relative:
            raise SpecError("position 'shared' takes its bias from the stack's own `position`, and this stack has none")
        return ctx.relative["bias"]

    def share(self, ctx: Context) -> dict[str, Any]:
        """What the stack's position shares, unchanged."""
        return ctx.relative
