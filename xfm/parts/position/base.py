"""The contract of a position: methods for the three ways in which it may act, each the identity by default."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.kernels.attention import Bias
from xfm.spec import SpecError


class Position(nn.Module):
    """Abstract base of positions; a part acts in one way at most: by `add`, by `rotate` and `value`, or by `bias`."""

    @nn.nowrap
    def bounds(self) -> tuple[int, int] | None:
        """The first legal position and the one after the last, None for any number."""
        return None

    @nn.nowrap
    def most(self) -> int | None:
        """The largest number of tokens in a row, None for any number."""
        bounds = self.bounds()
        return None if bounds is None else bounds[1]

    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        """Called in the embedding: x with its positions added."""
        return x

    def rotate(
        self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context
    ) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"]]:
        """Called in attention: q and k rotated by angles that depend on their positions."""
        return q, k

    def value(self, v: Float[Array, "B T K H"], ctx: Context) -> Float[Array, "B T K H"]:
        """Called in attention: v, rotated by those parts that rotate values as well as q and k."""
        return v

    def bias(self, heads: int, ctx: Context) -> Bias | None:
        """Called in attention: the description of what is added to the scores, None for nothing."""
        return None

    def share(self, ctx: Context) -> dict[str, Any]:
        """Called in a stack whose layers share one position: what they all find in ctx.relative, by name."""
        raise SpecError(f"a {type(self).__name__} has nothing that layers could share; give it to each attention")


def positions(x: Float[Array, "B T *any"], ctx: Context) -> Int[Array, "#B T"]:
    """ctx.positions, or 0, 1, 2, … where the context has none."""
    return jnp.arange(x.shape[1])[None] if ctx.positions is None else ctx.positions
