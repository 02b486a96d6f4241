"""Batch normalisation: zero mean and unit variance of each channel over a batch. Ioffe, Szegedy 2015, algorithm 2.

Moving averages of the mean and the variance are kept beside scale and bias, as parameters without a gradient, so that
they are saved, loaded and sharded like all others, and evaluation, inference and checkpoints need nothing else. Who
trains makes the collection "statistics" mutable (`Objective.forward` does in training). The norm then reads the batch
itself and sows the averages moved on by this batch; they go through the metrics of the loss, which add up over
microbatches, and the step writes their mean over the parameters once per update (`xfm.train.statistics`). Layers of a
scanned stack sow along their leading axis. On several devices the batch is that of all of them, since XLA divides one
program; each microbatch is normalised by its own statistics.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Positive, Rate
from xfm.parts.norm.fixed_batchnorm import fixed_batchnorm
from xfm.parts.param import param
from xfm.sown import STATISTICS


def moments(x: Float[Array, "*any D"]) -> tuple[Float[Array, "D"], Float[Array, "D"]]:
    """The mean and the variance of each channel over all other axes, in float32."""
    x, others = x.astype(jnp.float32), tuple(range(x.ndim - 1))
    mean = x.mean(others)
    return mean, jnp.square(x - mean).mean(others)


class BatchNorm(nn.Module):
    """Batch normalisation with a scale and a bias per channel.

    momentum: the share of the moving averages that one update keeps (1 minus PyTorch's momentum). The average is of
    the unbiased variance, as in PyTorch. Padding counts in training, so rows without padding are meant.
    """

    eps: Positive = 1e-5
    momentum: Rate = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        D = x.shape[-1]
        mean = jax.lax.stop_gradient(param(self, "mean", nn.initializers.zeros, (D,)))
        variance = jax.lax.stop_gradient(param(self, "variance", nn.initializers.ones, (D,)))
        if self.is_mutable_collection(STATISTICS) and not self.is_initializing():
            moving, (mean, variance), count = (mean, variance), moments(x), math.prod(x.shape[:-1])
            seen = mean, variance * (count / max(count - 1, 1))
            for name, old, new in zip(("mean", "variance"), moving, seen, strict=True):
                self.sow(STATISTICS, name, jax.lax.stop_gradient(self.momentum * old + (1 - self.momentum) * new))
        y = fixed_batchnorm(x, mean, variance, self.eps) * param(self, "scale", nn.initializers.ones, (D,))
        return (y + param(self, "bias", nn.initializers.zeros, (D,))).astype(x.dtype)
