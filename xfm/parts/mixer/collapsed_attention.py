"""Attention with a single matrix in the place of queries and keys, and one or none in that of values and output.

Bermeitinger, Hrycej, Pavone, Kath, Handschuh, "Reducing the Transformer Architecture to a Minimum", 2024, sections 4
and 5.
"""

import math
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.kernels.attention import attention
from xfm.parts.linear import Linear, linear
from xfm.parts.param import param


def symmetric(half: Float[Array, "N size"], D: int) -> Float[Array, "N D D"]:
    """The symmetric matrices whose upper triangles, row by row with the diagonal, are given."""
    rows, columns = jnp.triu_indices(D)
    upper = jnp.zeros((half.shape[0], D, D), half.dtype).at[:, rows, columns].set(half)
    return upper + jnp.triu(upper, 1).swapaxes(1, 2)


class CollapsedAttention(nn.Module):
    """softmax(x A xᵀ / sqrt(D)) x, times a matrix, summed over heads.

    heads: N matrices A.  similarity: "free" for D² numbers in each A, "symmetric" for D (D + 1) / 2.
    values: "mapped" for a matrix [D D] of each head, which stands for values and output at once, or "none" for the mean
    of the heads as it is.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count = 1
    similarity: Literal["free", "symmetric"] = "free"
    values: Literal["mapped", "none"] = "mapped"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        if state is not None:
            raise XfmError("mixer 'collapsed_attention' keeps no state; give it state=None")
        x, (N, D) = ctx.clean(x), (self.heads, x.shape[-1])
        if self.similarity == "free":
            q = Linear((N, D), bias=False, name="q")(x)
        else:
            half = param(self, "similarity", nn.initializers.normal(1 / math.sqrt(D)), (N, D * (D + 1) // 2))
            q = linear(x, jnp.moveaxis(symmetric(half.astype(x.dtype), D), 1, 0))
        y = attention(q, x[:, :, None], x[:, :, None], segments=ctx.attending, mask=ctx.mask)
        if self.values == "none":
            return y.mean(axis=2), None
        return Linear(D, bias=False, axes=2, name="o")(y), None
