"""Pointwise nonlinearities by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.errors import nearest
from xfm.spec import SpecError


def relu_squared(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """max(x, 0)². So et al. 2021 (Primer), section 3."""
    return jnp.square(jax.nn.relu(x))


def gelu(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """x Φ(x) with the exact normal distribution function. Hendrycks, Gimpel 2016."""
    return jax.nn.gelu(x, approximate=False)


def activation(name: str) -> Callable[[Float[Array, "*any"]], Float[Array, "*any"]]:
    """The function of that name; SpecError names the legal ones."""
    if name not in ACTIVATIONS:
        raise SpecError(f"no activation {name!r}{nearest(name, ACTIVATIONS)}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": jax.nn.gelu,
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "relu_squared": relu_squared,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
