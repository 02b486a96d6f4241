"""Pointwise nonlinearities by name."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.errors import nearest
from xfm.spec import SpecError


def relu_squared(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """max(x, 0)². So et al. 2021 (Primer), section 3."""
    return jnp.square(jax.nn.relu(x))


@jax.custom_jvp
def gelu(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """x Φ(x) with the exact normal distribution function. Hendrycks, Gimpel 2016."""
    return x * normal_cdf(x)


@gelu.defjvp
def _gelu_slope(x, dx):
    """The derivative Φ(x) + x φ(x), made from x alone, so that the backward pass keeps one array instead of three."""
    (x,), (dx,) = x, dx
    density = jnp.exp(-0.5 * jnp.square(x)) * (2 * math.pi) ** -0.5
    return gelu(x), dx * (normal_cdf(x) + x * density)


def normal_cdf(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Φ(x), the probability that a standard normal variable is below x."""
    return 0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5))


def quick_gelu(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """x σ(1.702 x). Hendrycks, Gimpel 2016, section 2; CLIP's."""
    return x * jax.nn.sigmoid(1.702 * x)


def activation(name: str) -> Callable[[Float[Array, "*any"]], Float[Array, "*any"]]:
    """The function of this name; raises SpecError, which lists the legal names, if there is none."""
    if name not in ACTIVATIONS:
        raise SpecError(f"no activation {name!r}{nearest(name, ACTIVATIONS)}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": jax.nn.gelu,
    "hard_swish": jax.nn.hard_swish,
    "identity": lambda x: x,
    "mish": jax.nn.mish,
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "relu_squared": relu_squared,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
