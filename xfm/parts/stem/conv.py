"""An image as patches that may overlap: one convolution with strides, and a norm.

Wang et al. 2022 (PVT v2), section 3.2, "overlapping patch embedding"; Liu et al. 2022 (ConvNeXt), section 2.2; Yu et
al. 2022 (PoolFormer), section 3.1; Ryali et al. 2023 (Hiera), section 3.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.parts.conv import Conv
from xfm.parts.grid import pair
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class ConvStem(nn.Module):
    """norm(conv(images)), a token for each patch.

    stride: pixels between two patches, rows and columns.  size: of a patch.  margin: pixels of zeros around the image.
    norm: none if None. Rows and columns of pixels that no patch reaches are not read.
    """

    width: Count
    stride: Count | tuple[Count, Count] = 4
    size: Count | tuple[Count, Count] = 7
    margin: CountOrZero | tuple[CountOrZero, CountOrZero] = 3
    norm: Spec | None = None

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return pair(self.stride)

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w width"]:
        size, margin = pair(self.size), pair(self.margin)
        if any(side + 2 * m < p for side, m, p in zip(images.shape[1:3], margin, size, strict=True)):
            raise XfmError(
                f"an image of {images.shape[1]} x {images.shape[2]} is smaller than a patch of {size[0]} x {size[1]}"
            )
        x = Conv(self.width, size, pair(self.stride), margin, name="conv")(images)
        return x if self.norm is None else build(NORMS, self.norm, name="norm")(x)
