"""Channel attention: two convolutions, whose channels the mean of the grid then gates.

Zhang, Li, Li, Wang, Zhong, Fu, "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", 2018,
section 3.3; as the block beside windowed attention: Chen, Wang, Zhou, Qiao, Dong 2023 (HAT), section 3.3, equation 3.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Number
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.grid import as_grid, of_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.spec import SpecError


class ChannelAttention(nn.Module):
    """scale · g · h with h = conv(activation(conv(x))) and g = sigmoid(W relu(V · mean of h)).

    hidden: channels between the convolutions.  inner: width of V h, of the gate.  size: rows and columns of the
    convolutions, odd.  scale: a constant, small where the part stands beside another one.
    A row holds one text, over whose real tokens the mean is. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "takes the mean of a whole row"
    mixes_all: ClassVar[bool] = True

    hidden: Count
    inner: Count
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"
    scale: Number = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("channel_attention", ctx, state)
        p, q = pair(self.size)
        if not p % 2 or not q % 2:
            raise SpecError(f"mixer 'channel_attention' reads an odd number of rows and columns; size is {self.size}")
        ctx, D = of_grid(ctx, x.shape[1]), x.shape[-1]
        window = (p, q), (1, 1), (p // 2, q // 2)
        h = activation(self.activation)(
            Conv(self.hidden, *window, name="conv_in")(as_grid(x, ctx, "mixer 'channel_attention'"))
        )
        h = as_grid(h.reshape(*x.shape[:2], self.hidden), ctx, "mixer 'channel_attention'")  # zeros in padding again
        h = Conv(D, *window, name="conv_out")(h).reshape(x.shape)
        real = ctx.real(h)[..., None]
        mean = jnp.where(real, h, 0).sum(1, dtype=jnp.float32) / jnp.maximum(real.sum(1), 1)
        g = jax.nn.relu(Linear(self.inner, name="squeeze")(mean.astype(h.dtype)))
        g = jax.nn.sigmoid(Linear(D, name="excite")(g))
        return self.scale * h * g[:, None], None
