"""Layer normalisation that becomes batch normalisation in the course of training, which inference can fold away.

Guo, Chen, Tang, Wang, "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized
Batch Normalization", 2024, equations 4 to 6.

The share of layer normalisation is kept and moved on like the averages of batch normalisation (see batchnorm.py). The
authors' program evaluates with batch normalisation alone at any time; here evaluation has the share of its step, and
both agree once it is 0.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Count, Positive, Rate
from xfm.parts.norm.batchnorm import BatchNorm
from xfm.parts.norm.layernorm import LayerNorm
from xfm.parts.param import param
from xfm.sown import STATISTICS


class Progressive(nn.Module):
    """share · layernorm(x) + (1 - share) · (batchnorm(x) + skip · x), where share falls from 1 to 0.

    steps: updates until it is 0, linearly.  eps, batch_eps, momentum: of the norms.
    """

    steps: Count
    eps: Positive = 1e-6
    batch_eps: Positive = 1e-5
    momentum: Rate = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        share = jax.lax.stop_gradient(param(self, "share", nn.initializers.ones, ()))
        skip = param(self, "skip", nn.initializers.ones, ()).astype(x.dtype)
        layer = LayerNorm(self.eps, name="layer")(x)
        batch = BatchNorm(self.batch_eps, self.momentum, name="batch")(x) + skip * x
        if self.is_mutable_collection(STATISTICS) and not self.is_initializing():
            self.sow(STATISTICS, "share", jnp.maximum(share - 1 / self.steps, 0.0))
        share = share.astype(x.dtype)
        return share * layer + (1 - share) * batch
