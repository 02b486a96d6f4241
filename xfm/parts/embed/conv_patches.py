"""An image as a sequence of overlapping patches: one convolution with strides.

Wang et al. 2022 (PVT v2), section 3.2, "overlapping patch embedding"; Yu et al. 2022 (PoolFormer), section 3.1; Ryali
et al. 2023 (Hiera), section 3.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.conv import Conv
from xfm.parts.embed.base import Embed
from xfm.parts.embed.patches import NO_POSITION, SIDE
from xfm.parts.grid import pair
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build


class ConvPatches(Embed):
    """drop(position(norm(conv(batch["images"])))), a token for each patch.

    width: D.  stride: pixels between two patches, rows and columns.  size: of a patch.  margin: pixels of zeros around
    the image.  norm: none if None.  position: spec of the position slot.  channels: of an image, those of the first
    batch if None. Rows and columns of pixels that no patch reaches are not read.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    width: Count
    stride: Count | tuple[Count, Count] = 4
    size: Count | tuple[Count, Count] = 7
    margin: CountOrZero | tuple[CountOrZero, CountOrZero] = 3
    channels: Count | None = None
    norm: Spec | None = None
    position: Spec = NO_POSITION
    drop: Rate = 0.0

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """An image of SIDE x SIDE pixels in three colours, where the data does not say another size."""
        return {"images": ((SIDE, SIDE, self.channels or 3), np.float32)}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        images = batch["images"].astype(ctx.dtype)
        if self.channels not in (None, images.shape[-1]):
            raise XfmError(f"the images have {images.shape[-1]} channels, the network reads {self.channels}")
        size, margin = pair(self.size), pair(self.margin)
        if any(side + 2 * m < p for side, m, p in zip(images.shape[1:3], margin, size, strict=True)):
            raise XfmError(
                f"an image of {images.shape[1]} x {images.shape[2]} is smaller than a patch of {size[0]} x {size[1]}"
            )
        x = Conv(self.width, size, pair(self.stride), margin, name="conv")(images)
        ctx, x = ctx.replace(grid=x.shape[1:3]), x.reshape(x.shape[0], -1, self.width)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train), ctx
