"""Two linear maps with a norm after each and a nonlinearity between them. Graham et al. 2021 (LeViT), section 4.2."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.normed_linear import normed_linear
from xfm.spec import Spec, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class NormedMLP(nn.Module):
    """down_norm(down(activation(up_norm(up(x))))).

    hidden: F.  norm: spec of the norm, None for biases in its place.
    """

    hidden: Count
    activation: str = "hard_swish"
    norm: Spec | None = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        h = activation(self.activation)(normed_linear(ctx.clean(x), self.hidden, self.norm, "up"))
        return normed_linear(h, x.shape[-1], self.norm, "down"), state
