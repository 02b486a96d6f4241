"""Patches of several sizes around the same centres, as one token each. Wang et al. 2022 (CrossFormer), section 3.1."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.norm import NORMS
from xfm.parts.scales import Scales
from xfm.spec import Spec, build


class CrossScale(nn.Module):
    """norm of the concatenated convolutions of all sizes; the i-th of them has D / 2^i channels, the last two as many.

    sizes: sides of the patches in pixels, larger than the stride by even numbers.  stride: pixels between two patches.
    norm: none if None. What a patch holds outside the image is zero.
    """

    width: Count
    sizes: tuple[Count, ...] = (4, 8, 16, 32)
    stride: Count = 4
    norm: Spec | None = None

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return self.stride, self.stride

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        x = Scales(self.width, tuple(self.sizes), self.stride, "stem 'cross_scale'", name="scales")(images)
        return x if self.norm is None else build(NORMS, self.norm, name="norm")(x)
