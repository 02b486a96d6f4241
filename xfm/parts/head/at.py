"""The positions at which heads predict."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context


def chosen(x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B K D"]:
    """x at the positions ctx.at, or at all positions where that is None."""
    x = ctx.clean(x)
    return x if ctx.at is None else jnp.take_along_axis(x, ctx.at[..., None], axis=1)
