"""Feature pyramid: maps of one width, each with what the coarser ones know, for another head.

Lin, Dollar, Girshick, He, Hariharan, Belongie, "Feature Pyramid Networks for Object Detection", 2017, section 3.
"""

from collections.abc import Sequence

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.head.conv_norm import ConvNorm
from xfm.parts.head.maps import maps_of, named
from xfm.parts.resize import Enlarge, resize_maps
from xfm.spec import Spec, build

Map = Float[Array, "B h w F"]


def top_down(maps: Sequence[Map], method: Enlarge) -> list[Map]:
    """Each map plus the enlarged sum of the coarser ones; maps are ordered from the finest to the coarsest."""
    above = [maps[-1]]
    for one in reversed(maps[:-1]):
        above.append(one + resize_maps(above[-1], one.shape[1:3], method))
    return above[::-1]


class FPN(nn.Module):
    """`head`, whose ctx.features are 3x3 convolutions of the top-down sums of 1x1 convolutions of the maps.

    head: spec of the head slot.  width: F.  norm: after each convolution, none if None, as in the paper.
    method: how maps are enlarged; the paper takes the nearest sample.
    """

    head: Spec
    width: Count = 256
    norm: Spec | None = None
    method: Enlarge = "nearest"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *any"]:
        maps = maps_of(x, ctx, "head 'fpn'")
        maps = [ConvNorm(self.width, 1, self.norm, name=f"lateral_{i}")(one) for i, one in enumerate(maps)]
        maps = top_down(maps, self.method)
        maps = [ConvNorm(self.width, 3, self.norm, name=f"level_{i}")(one) for i, one in enumerate(maps)]
        return build("head", self.head, name="head")(x, ctx.replace(features=named(maps)))
