"""One linear map from features to the classes of each position, as frozen backbones are measured.

Oquab et al. 2023 (DINOv2), section 7.4, "linear"; without their batch normalisation.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero, Rate
from xfm.parts.head.all_mlp import Join
from xfm.parts.head.maps import maps_of
from xfm.parts.param import param


class LinearMaps(nn.Module):
    """Logits [B h w classes] over the finest map: W · [all maps, enlarged] + b.  drop: before the map."""

    classes: CountOrZero
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B h w classes"]:
        drop = nn.Dropout(self.drop, deterministic=not ctx.train)
        y = Join(self.classes, name="join")([drop(one) for one in maps_of(x, ctx, "head 'linear_maps'")])
        return y + param(self, "bias", nn.initializers.zeros, (self.classes,)).astype(x.dtype)
