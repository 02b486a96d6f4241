"""An MLP whose hidden units also read their neighbours on the grid, by a depthwise convolution.

Wang et al. 2022 (PVT v2), section 3.2.2, and with the first nonlinearity its linear variant; Xie et al. 2021
(SegFormer), equation 3. Since it moves information between tokens it is a mixer, though it takes the place of an ffn.
The convolution's zero margin is what such networks know positions by.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.conv import Depthwise
from xfm.parts.grid import pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways


class ConvMLP(nn.Module):
    """down(activation(conv(before(up(x))))).

    hidden: F.  size: rows and columns of the convolution, odd.  before: the nonlinearity before the convolution.
    drop: rate of dropout on the hidden units. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    hidden: Count
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"
    before: str = "identity"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("conv_mlp", ctx, state)
        h = activation(self.before)(Linear(self.hidden, name="up")(ctx.clean(x)))
        h = activation(self.activation)(Depthwise(pair(self.size), "mixer 'conv_mlp'", name="conv")(h, ctx))
        h = nn.Dropout(self.drop)(h, deterministic=not ctx.train)
        return Linear(x.shape[-1], name="down")(h), None
