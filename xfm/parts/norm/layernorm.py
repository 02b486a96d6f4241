"""Layer normalisation: zero mean, unit variance over the last axis. Ba, Kiros, Hinton 2016, section 3."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Positive
from xfm.parts.param import param


def layernorm(x: Float[Array, "*any D"], eps: float) -> Float[Array, "*any D"]:
    """(x - mean) / sqrt(variance + eps), in float32."""
    x = x.astype(jnp.float32)
    x = x - x.mean(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + eps)


class LayerNorm(nn.Module):
    """Layer normalisation with a scale per channel, and a bias unless `bias` is false."""

    eps: Positive = 1e-6
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        D = x.shape[-1]
        y = layernorm(x, self.eps) * param(self, "scale", nn.initializers.ones, (D,))
        if self.bias:
            y += param(self, "bias", nn.initializers.zeros, (D,))
        return y.astype(x.dtype)
