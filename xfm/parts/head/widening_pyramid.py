"""Maps of four sizes, the wider the coarser, made of the last one of a plain network alone, for another head.

Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers", 2023,
section 3.1; widths, norms and activations follow the authors' program.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.head.doubling import Double
from xfm.parts.head.maps import map_of, named
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

GROUPNORM = freeze(dict(kind="groupnorm"))


class WideningPyramid(nn.Module):
    """`head`, whose ctx.features are the map of the patches at four times, twice, once and half its size.

    head: spec of the head slot.  widths: of the four maps, the finest first.  norm: after each convolution; the paper's
    knows no padding.  activation: between the two doublings of the finest map, and after the last norm of each map.
    """

    head: Spec
    widths: tuple[Count, Count, Count, Count] = (128, 256, 512, 1024)
    norm: Spec = GROUPNORM
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *any"]:
        one, act, D = map_of(x, ctx, "head 'widening_pyramid'"), activation(self.activation), x.shape[-1]

        def normed(name, y):
            return build(NORMS, self.norm, name=name)(y)

        finest, fine, _, coarse = self.widths
        between = max(2 * finest, D // 2)
        y = act(normed("norm_0_0", Double(between, name="double_0_0")(one)))
        found = [
            normed("norm_0_1", Double(between // 2, name="double_0_1")(y)),
            normed("norm_1_0", Double(max(fine, D // 2), name="double_1_0")(one)),
            one,
            normed("norm_3_0", Conv(max(coarse, 2 * D), (2, 2), (2, 2), (0, 0), name="halve_3_0")(one)),
        ]
        maps = [
            act(normed(f"norm_{i}", Linear(width, name=f"level_{i}")(y)))
            for i, (width, y) in enumerate(zip(self.widths, found, strict=True))
        ]
        return build("head", self.head, name="head")(x, ctx.replace(features=named(maps)))
