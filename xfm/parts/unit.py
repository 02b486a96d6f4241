"""Vectors scaled to length 1."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def unit(x: Float[Array, "*any D"], axis: int = -1, eps: float = 1e-6) -> Float[Array, "*any D"]:
    """x / max(|x|, eps) along an axis, in float32; zero stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(axis=axis, keepdims=True), eps**2))
