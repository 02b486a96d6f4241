"""An image through convolutions with nothing between them, then an activation and a norm: WaveMix's stem.

Jeevan, Viswanathan, Anandu, Sethi, "WaveMix", 2022; the sizes follow the authors' program ("pachify").
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class LinearConvs(nn.Module):
    """norm(activation(convolutions of each width in turn, and of patches, whose width is D)).

    widths: of the convolutions before that of patches, which keep the image's size.  size: of those, odd.  patch: a
    side, in pixels.
    """

    width: Count
    widths: tuple[Count, ...]
    patch: Count = 4
    size: Count = 3
    activation: str = "gelu"
    norm: Spec = BATCHNORM

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return self.patch, self.patch

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        x, p, patch = images, self.size, self.patch
        if images.shape[1] % patch or images.shape[2] % patch:
            raise XfmError(
                f"an image of {images.shape[1]} x {images.shape[2]} does not divide into patches of {patch} x {patch}"
            )
        for i, width in enumerate(self.widths):
            x = Conv(width, (p, p), (1, 1), (p // 2, p // 2), name=f"conv_{i}")(x)
        x = Conv(self.width, (patch, patch), (patch, patch), (0, 0), name=f"conv_{len(self.widths)}")(x)
        return build(NORMS, self.norm, name="norm")(activation(self.activation)(x))
