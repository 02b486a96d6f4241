"""Visual words: each patch of an image as a few tokens of its own. Han et al. 2021 (TNT), section 2.2.

The convolution that makes them reads its own patch only, with zeros around it, as in the authors' program.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.parts.embed.base import Embed
from xfm.parts.embed.patches import SIDE
from xfm.parts.embed.patchify import patchify
from xfm.parts.linear import Linear
from xfm.parts.position import POSITIONS
from xfm.parts.split import soft_split
from xfm.spec import Spec, build, freeze

NO_POSITION = freeze(dict(kind="none"))


class Words(Embed):
    """The words of batch["images"], patch after patch: [B patches·words D]; the grid is that of the patches.

    patch: P, the side of a patch in pixels.  size, stride, margin: of the tiles of a patch, each of which is one word.
    position: spec of a position that is added to the words of each patch, whose grid is that of the words in it.
    channels: of an image, those of the first batch if None.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    width: Count
    patch: Count = 16
    size: Count = 7
    stride: Count = 4
    margin: CountOrZero = 3
    position: Spec = NO_POSITION
    channels: Count | None = None

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """An image of SIDE x SIDE pixels in three colours, where the data does not say another size."""
        return {"images": ((SIDE, SIDE, self.channels or 3), np.float32)}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context) -> tuple[Float[Array, "B T D"], Context]:
        images, P = batch["images"].astype(ctx.dtype), self.patch
        B, height, width, C = images.shape
        if self.channels not in (None, C):
            raise XfmError(f"the images have {C} channels, the network reads {self.channels}")
        patches = patchify(images, (P, P)).reshape(-1, P, P, C)
        x = Linear(self.width, name="word")(soft_split(patches, self.size, self.stride, self.margin))
        inside = x.shape[1:3]
        x = build(POSITIONS, self.position, name="position").add(
            x.reshape(len(x), -1, self.width), ctx.replace(grid=inside)
        )
        return x.reshape(B, -1, self.width), ctx.replace(grid=(height // P, width // P))
