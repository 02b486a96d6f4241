"""The mean of the real tokens."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context


class Mean(nn.Module):
    """Mean over tokens that are not padding, in float32; zeros for a row that is all padding."""

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        real = ctx.real(x)[..., None]
        total = jnp.where(real, x, 0).sum(axis=1, dtype=jnp.float32)
        return (total / jnp.maximum(real.sum(axis=1), 1)).astype(x.dtype)
