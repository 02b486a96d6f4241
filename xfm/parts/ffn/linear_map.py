"""One linear map of each token: a learned dictionary that takes a sparse code back to what it stands for.

Pai, Wu, Buchanan, Yu, Ma, "Masked Completion via Structured Diffusion with White-Box Transformers" (CRATE-MAE, 2024),
the decoder's half layer that inverts a step of ISTA.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.linear import linear
from xfm.parts.param import param


class LinearMap(nn.Module):
    """x W, of the width of x and without a bias. Where it takes the place of the stream, its sublayer's `skip` is 0."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        D = x.shape[-1]
        kernel = param(self, "kernel", nn.initializers.he_uniform(), (D, D)).astype(x.dtype)
        return linear(ctx.clean(x), kernel), state
