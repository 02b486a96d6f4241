"""An MLP to whose hidden units a depthwise convolution of them is added. Fan et al. 2024 (RMT), the authors' program.

Since it moves information between tokens it is a mixer, though it takes the place of an ffn.
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


class LocalMLP(nn.Module):
    """down(h + conv(h)) with h = activation(up(x)).

    hidden: F.  size: rows and columns of the convolution, odd.  drop: rate of dropout on the hidden units, before the
    convolution. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    hidden: Count
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("local_mlp", ctx, state)
        h = activation(self.activation)(Linear(self.hidden, name="up")(ctx.clean(x)))
        h = nn.Dropout(self.drop)(h, deterministic=not ctx.train)
        h = h + Depthwise(pair(self.size), "mixer 'local_mlp'", name="conv")(h, ctx)
        return Linear(x.shape[-1], name="down")(h), None
