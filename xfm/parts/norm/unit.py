"""Vectors of length 1, without parameters, as in cosine attention. Liu et al. 2022 (Swin V2), equation 3."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Positive


def unit(x: Float[Array, "*any D"], eps: float) -> Float[Array, "*any D"]:
    """x / max(|x|, eps), in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=-1, keepdims=True), eps**2))


class Unit(nn.Module):
    """Division by the length of the vector."""

    eps: Positive = 1e-12

    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        return unit(x, self.eps).astype(x.dtype)
