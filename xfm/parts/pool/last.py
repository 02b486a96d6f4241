"""The last token that is not padding: in a causal model, the one that attends to the whole text."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context


class Last(nn.Module):
    """x[b, last real token of row b]; token 0 of a row that is all padding."""

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        T = x.shape[1]
        index = jnp.max(jnp.where(ctx.real(x), jnp.arange(T), 0), axis=1)
        return jnp.take_along_axis(ctx.clean(x), index[:, None, None], axis=1)[:, 0]
