"""A spectrogram as an image of one channel, whose rows are bands. Gong, Chung, Glass 2021 (AST), section 2.1."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.embed.base import Embed
from xfm.spec import Spec, build


class Spectrogram(Embed):
    """The tokens of batch["frames"] [B time bands] as `image` makes them of the image [B bands time 1].

    image: spec of an embedding of images, whose parameters these are; its tokens run along time within a row of bands.
    width: D, of that embedding too.  time, bands: of a row, where the data does not say another size.
    """

    whole_row: ClassVar[str | None] = "makes rows of spectrograms, which are all of one length"

    width: Count
    image: Spec
    time: Count = 1024
    bands: Count = 128

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        return {"frames": ((self.time, self.bands), np.float32)}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        image = build("embed", self.image, width=self.width)
        nn.share_scope(self, image)  # so its parameters are this embedding's
        return image({"images": batch["frames"].swapaxes(1, 2)[..., None]}, ctx)
