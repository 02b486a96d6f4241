"""The mean of the first tokens, such as those of a class and of distillation. Gong et al. 2021 (AST), section 2.1."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count


class Leading(nn.Module):
    """The mean of x[:, :count], in float32."""

    count: Count = 2

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        return ctx.clean(x)[:, : self.count].mean(axis=1, dtype=jnp.float32).astype(x.dtype)
