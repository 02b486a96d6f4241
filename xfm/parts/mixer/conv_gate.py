"""A convolution of each channel between two linear maps, whose channels the mean of the grid then gates.

Touvron, Cord, El-Nouby, Bojanowski, Joulin, Synnaeve, Verbeek, Jégou, "Augmenting Convolutional networks with
attention-based aggregation", 2021, section 3.2; the gate: Hu et al. 2018 (squeeze and excitation), equations 2 to 4.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Depthwise
from xfm.parts.grid import pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways


class ConvGate(nn.Module):
    """down(g · h) with h = activation(conv(activation(up(x)))) and g = sigmoid(W relu(V · mean of h)).

    inner: width of V x, of the gate.  hidden: of h, D if None.  size: rows and columns of the convolution, odd.
    A row holds one text, over whose real tokens the mean is. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "takes the mean of a whole row"
    mixes_all: ClassVar[bool] = True

    inner: Count
    hidden: Count | None = None
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("conv_gate", ctx, state)
        f, D = activation(self.activation), x.shape[-1]
        h = f(Linear(self.hidden or D, name="up")(ctx.clean(x)))
        h = f(Depthwise(pair(self.size), "mixer 'conv_gate'", name="conv")(h, ctx))
        real = ctx.real(h)[..., None]
        total = jnp.where(real, h, 0).sum(1, dtype=jnp.float32) / jnp.maximum(real.sum(1), 1)
        g = Linear(self.inner, name="squeeze")(total.astype(h.dtype))
        g = jax.nn.sigmoid(Linear(h.shape[-1], name="excite")(jax.nn.relu(g)))
        return Linear(D, name="down")(h * g[:, None]), None
