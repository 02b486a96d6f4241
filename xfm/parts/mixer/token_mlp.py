"""An MLP over the tokens of a row, the same for each channel. Tolstikhin et al. 2021 (MLP-Mixer), section 2."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways


class TokenMLP(nn.Module):
    """The transpose of down(activation(up(xᵀ))), whose weights belong to positions of the row.

    hidden: width of the MLP.  drop: rate of dropout on the hidden units. Padding counts as zeros; tokens of different
    segments are mixed, so a row holds one text or image.
    """

    whole_row: ClassVar[str | None] = "has weights for the positions of a whole row"
    mixes_all: ClassVar[bool] = True

    hidden: Count
    activation: str = "gelu"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("token_mlp", ctx, state)
        ctx.refuse_heard("mixer 'token_mlp'")
        h = activation(self.activation)(Linear(self.hidden, name="up")(ctx.clean(x).swapaxes(1, 2)))
        h = nn.Dropout(self.drop)(h, deterministic=not ctx.train)
        return Linear(x.shape[1], name="down")(h).swapaxes(1, 2), None
