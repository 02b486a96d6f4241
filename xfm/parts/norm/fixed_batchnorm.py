"""Batch normalisation with statistics that no longer change, as in evaluation and in fine-tuning of detectors.

Ioffe, Szegedy 2015, algorithm 2. The oracle is torch.nn.BatchNorm2d in evaluation.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Positive
from xfm.parts.param import param


def fixed_batchnorm(
    x: Float[Array, "*any D"], mean: Float[Array, "D"], variance: Float[Array, "D"], eps: float
) -> Float[Array, "*any D"]:
    """(x - mean) / sqrt(variance + eps), in float32, with one mean and one variance per channel."""
    return (x.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + eps)


class FixedBatchNorm(nn.Module):
    """Batch normalisation with a scale and a bias per channel, and a mean and a variance that are loaded, not trained.

    Without loaded values it starts as the identity.
    """

    eps: Positive = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        D = x.shape[-1]
        mean = jax.lax.stop_gradient(param(self, "mean", nn.initializers.zeros, (D,)))
        variance = jax.lax.stop_gradient(param(self, "variance", nn.initializers.ones, (D,)))
        y = fixed_batchnorm(x, mean, variance, self.eps) * param(self, "scale", nn.initializers.ones, (D,))
        return (y + param(self, "bias", nn.initializers.zeros, (D,))).astype(x.dtype)
