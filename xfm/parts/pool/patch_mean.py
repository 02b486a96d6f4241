"""The mean of the patches alone, as BEiT, DINOv2 and MAE pool an image: cls tokens and registers are left out."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context


class PatchMean(nn.Module):
    """Mean over patches that are not padding, in float32; zeros where all are padding."""

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        real = ctx.patches(ctx.real(x))[..., None]
        total = jnp.where(real, ctx.patches(x), 0).sum(axis=1, dtype=jnp.float32)
        return (total / jnp.maximum(real.sum(axis=1), 1)).astype(x.dtype)
