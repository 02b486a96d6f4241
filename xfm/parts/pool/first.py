"""The first token that is not padding: the class token of a row padded on the left."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context


class First(nn.Module):
    """x[b, first real token of row b]; token 0 of a row that is all padding."""

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        index = jnp.argmax(ctx.real(x), axis=1)
        return jnp.take_along_axis(ctx.clean(x), index[:, None, None], axis=1)[:, 0]
