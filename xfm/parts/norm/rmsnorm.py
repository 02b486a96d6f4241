"""Root-mean-square normalisation: unit mean square, the mean left alone. Zhang, Sennrich 2019, equation 4."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Positive
from xfm.parts.param import param


def rmsnorm(x: Float[Array, "*any D"], eps: float) -> Float[Array, "*any D"]:
    """x / sqrt(mean(x²) + eps), in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + eps)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a scale per channel."""

    eps: Positive = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        scale = param(self, "scale", nn.initializers.ones, (x.shape[-1],))
        return (rmsnorm(x, self.eps) * scale).astype(x.dtype)
