"""Images of any shape as rows of patches, with positions resized for each. Tschannen et al. 2025 (SigLIP 2), section 3.

The authors' NaFlex: Dehghani et al. 2023 (NaViT) and Beyer et al. 2023 (FlexiViT). The oracle is transformers'
Siglip2VisionModel.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.embed.base import Embed
from xfm.parts.linear import Linear
from xfm.parts.param import param


def triangles(index: Int[Array, "B T"], side: Int[Array, "B"], size: int) -> Float[Array, "B T size"]:
    """The weight of each of `size` samples in sample `index` of `side` ones: bilinear resizing, antialiased."""
    scale = size / side.astype(jnp.float32)[:, None]
    centre = (index + 0.5) * scale - 0.5
    apart = jnp.abs(jnp.arange(size) - centre[..., None])
    weights = jnp.maximum(1 - apart / jnp.maximum(scale, 1)[..., None], 0)
    return weights / weights.sum(-1, keepdims=True)


def positions(table: Float[Array, "size size D"], sides: Int[Array, "B 2"], length: int) -> Float[Array, "B T D"]:
    """The table resized for grids of `sides` (rows, columns), row by row; what is after a grid has its first vector."""
    rows, columns = sides[:, 0], sides[:, 1]
    place = jnp.arange(length)[None] * (jnp.arange(length)[None] < (rows * columns)[:, None])
    row, column = place // columns[:, None], place % columns[:, None]
    down, across = (triangles(at, side, len(table)) for at, side in ((row, rows), (column, columns)))
    weights = down[..., :, None] * across[..., None, :]
    return jnp.einsum("btrc,rcd->btd", weights, table.astype(jnp.float32), precision="highest")


class NaFlex(Embed):
    """W · patch + b + position, for batch["patches"] [B T P·P·C], the patches of images row by row, then padding.

    batch["sides"] [B 2] has the rows and columns of patches of each image; batch["segments"] is 0 at padding.
    width: D.  patch: P, the side in pixels.  size: side of the grid that the table of positions holds.  channels: C.
    """

    whole_row: ClassVar[str | None] = "makes a row of each image"

    width: Count
    patch: Count
    size: Count
    channels: Count = 3

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """An image of as many patches as there are positions."""
        tokens = length or self.size**2
        numbers = self.patch**2 * self.channels
        return {
            "patches": ((tokens, numbers), np.float32),
            "sides": ((2,), np.int32),
            "segments": ((tokens,), np.int32),
        }

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        x = ctx.clean(batch["patches"].astype(ctx.dtype))
        if x.shape[-1] != self.patch**2 * self.channels:
            raise XfmError(
                f"the patches have {x.shape[-1]} numbers, the network reads {self.patch**2 * self.channels} "
                f"({self.patch} x {self.patch} x {self.channels})"
            )
        x = Linear(self.width, name="patch")(x)
        table = param(self, "table", nn.initializers.normal(0.02), (self.size**2, self.width))
        x += positions(table.reshape(self.size, self.size, -1), batch["sides"], x.shape[1]).astype(x.dtype)
        return ctx.clean(x), ctx
