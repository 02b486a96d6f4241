"""Where an answer starts and ends. Devlin et al. 2019 (BERT), section 4.2."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.linear import Linear


class Span(nn.Module):
    """Scores [B T 2] of each token as start and as end, in float32; -inf at padding, where no answer can be."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T 2"]:
        scores = Linear(2, name="out")(ctx.clean(x)).astype(jnp.float32)
        return jnp.where(ctx.real(x)[..., None], scores, -jnp.inf)
