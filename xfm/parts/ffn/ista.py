"""One step towards a sparse code of a token in a learned dictionary: iterative shrinkage and thresholding (ISTA).

Yu, Buchanan, Pai, Chu, Wu, Tong, Haeffele, Ma, "White-Box Transformers via Sparse Rate Reduction", 2023, equation 17.
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import NotNegative, Positive
from xfm.parts.linear import linear
from xfm.parts.param import param


def ista(x: Float[Array, "*any D"], dictionary: Float[Array, "D D"], step: float, sparsity: float):
    """relu(x + step · (Dᵀ x - Dᵀ D x) - step · sparsity), D being the dictionary, whose columns are its words."""
    left = x - linear(x, dictionary.T)  # x - D x
    return jax.nn.relu(x + step * linear(left, dictionary) - step * sparsity)


class Ista(nn.Module):
    """`ista` of each token. It answers the new code and not what is added to x, so its sublayer's `skip` is 0.

    step: the size of the step.  sparsity: by how much codes are drawn towards 0.
    """

    step: Positive = 0.1
    sparsity: NotNegative = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        D = x.shape[-1]
        dictionary = param(self, "dictionary", nn.initializers.he_uniform(), (D, D)).astype(x.dtype)
        return ista(ctx.clean(x), dictionary, self.step, self.sparsity), state
