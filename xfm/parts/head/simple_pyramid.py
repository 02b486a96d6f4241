"""Maps of several sizes, made of the last one of a plain network alone, for another head.

Li, Mao, Girshick, He, "Exploring Plain Vision Transformer Backbones for Object Detection", 2022 (ViTDet), section 3;
widths, norms and activations follow the authors' program.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Integer
from xfm.parts.head.conv_norm import ConvNorm
from xfm.parts.head.doubling import doubled_often
from xfm.parts.head.maps import map_of, named
from xfm.spec import Spec, SpecError, build, freeze

LAYERNORM = freeze(dict(kind="layernorm", eps=1e-6))


def halved(x: Float[Array, "B h w D"]) -> Float[Array, "B h//2 w//2 D"]:
    """The maximum of each tile of 2 x 2; an odd last row or column is left out."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


class SimplePyramid(nn.Module):
    """`head`, whose ctx.features are the map of the patches in several sizes.

    head: spec of the head slot.  width: of the maps.  doublings: how often each map is doubled in size, or halved where
    negative, the finest first; each doubling also halves the width, with a norm and an activation between two of them.
    A 1x1 and a 3x3 convolution follow, each with a norm.
    """

    head: Spec
    width: Count = 256
    doublings: tuple[Integer, ...] = (2, 1, 0, -1)
    norm: Spec = LAYERNORM
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *any"]:
        if list(self.doublings) != sorted(self.doublings, reverse=True):
            raise SpecError(
                f"head 'simple_pyramid': doublings={tuple(self.doublings)} must go down, the finest map first"
            )
        one, maps = map_of(x, ctx, "head 'simple_pyramid'"), []
        for level, times in enumerate(self.doublings):
            y = doubled_often(one, times, self.norm, self.activation, f"{level}_")
            for _ in range(-times):
                y = halved(y)
            y = ConvNorm(self.width, 1, self.norm, name=f"lateral_{level}")(y)
            maps.append(ConvNorm(self.width, 3, self.norm, name=f"level_{level}")(y))
        return build("head", self.head, name="head")(x, ctx.replace(features=named(maps)))
