"""The stream that another network made, as it is: for decoders that share one embedding.

The loss predictor of Wang et al., "Hard Patches Mining" (HPM, 2023), reads such a stream.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import numpy as np
from jaxtyping import Array

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.embed.base import Embed


class Stream(Embed):
    """batch["latents"] [B T D], without parameters.  width: D."""

    whole_row: ClassVar[str | None] = "makes rows of another network's tokens, which are all of one length"

    width: Count

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Four tokens, where the data does not say another number."""
        return {"latents": ((length or 4, self.width), np.float32)}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        return batch["latents"].astype(ctx.dtype), ctx
