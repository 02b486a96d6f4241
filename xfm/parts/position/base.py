"""The three doors through which a position may enter, each the identity until a part opens it."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.kernels.attention import Bias
from xfm.spec import SpecError


class Position(nn.Module):
    """Abstract. A part opens one door, at most."""

    @nn.nowrap
    def bounds(self) -> tuple[int, int] | None:
        """The first position that there is and the one after the last, None for any number."""
        return None

    @nn.nowrap
    def most(self) -> int | None:
        """How many tokens a row may have, None for any number."""
        bounds = self.bounds()
        return None if bounds is None else bounds[1]

    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        """In the embedding: x with its places marked."""
        return x

    def rotate(
        self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context
    ) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"]]:
        """In attention: q and k turned by angles of their places."""
        return q, k

    def value(self, v: Float[Array, "B T K H"], ctx: Context) -> Float[Array, "B T K H"]:
        """In attention: v, turned by a part that turns q and k if it turns values too."""
        return v

    def bias(self, heads: int, ctx: Context) -> Bias | None:
        """In attention: what is added to the scores, as a description."""
        return None

    def share(self, ctx: Context) -> dict[str, Any]:
        """In a stack: what all layers find in ctx.relative, where one position serves them all."""
        raise SpecError(f"a {type(self).__name__} has nothing that layers could share; give it to each attention")


def places(x: Float[Array, "B T *any"], ctx: Context) -> Int[Array, "#B T"]:
    """ctx.positions, or 0, 1, 2, … where the context has none."""
    return jnp.arange(x.shape[1])[None] if ctx.positions is None else ctx.positions
