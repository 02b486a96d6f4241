"""Maps of several sizes, each through a linear map and an activation of its own, enlarged and joined by two more maps.

Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers", 2023,
section 3.1; the activations and the dropout follow the authors' program.

Enlarging and joining are both linear, so that each map is joined at its own size, as in `all_mlp`.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.activation import activation
from xfm.parts.head.all_mlp import Join
from xfm.parts.head.maps import maps_of
from xfm.parts.linear import Linear
from xfm.parts.param import param


class MLPMaps(nn.Module):
    """Logits [B h w classes] over the finest map: act(W · [act(W_i · map_i), all enlarged] + b), then a linear map.

    width: of all maps in the head.  drop: of whole channels, before the last map.
    """

    classes: CountOrZero
    width: Count = 256
    activation: str = "relu"
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B h w classes"]:
        act, maps = activation(self.activation), maps_of(x, ctx, "head 'mlp_maps'")
        maps = [act(Linear(self.width, name=f"level_{i}")(one)) for i, one in enumerate(maps)]
        bias = param(self, "bias", nn.initializers.zeros, (self.width,))
        y = act(Join(self.width, name="join")(maps) + bias.astype(x.dtype))
        y = nn.Dropout(self.drop, broadcast_dims=(1, 2))(y, deterministic=not ctx.train)
        return Linear(self.classes, name="out")(y)
