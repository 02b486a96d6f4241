"""Clicks of a user beside an image: a second map of patches, whose result is added to the first one's.

Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers", 2023,
section 3.1. The map of the clicks starts at zero, so that a trained network computes at first what it did without them.
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
from xfm.parts.embed.patchify import patchify
from xfm.parts.linear import Linear
from xfm.spec import Spec, build

CLICKS = 24  # in a row where the data does not say how many


def disks(clicks: Int[Array, "B K 3"], size: tuple[int, int], radius: int) -> Float[Array, "B height width 2"]:
    """1 within `radius` pixels of a click and 0 elsewhere: a channel for positive clicks and one for negative ones.

    clicks: (row, column, sign), whose sign is 1, -1, or 0 where there is no click.
    """
    rows, columns = (jnp.arange(side) for side in size)
    from_row = rows[None, None, :, None] - clicks[..., 0, None, None]
    from_column = columns[None, None, None, :] - clicks[..., 1, None, None]
    near = from_row**2 + from_column**2 <= radius**2
    return jnp.stack([(near & (clicks[..., 2, None, None] == sign)).any(1) for sign in (1, -1)], -1).astype(jnp.float32)


class Clicked(Embed):
    """`embed` of an image, plus a linear map of patches of three maps: positive clicks, negative ones, the last mask.

    batch["clicks"] [B K 3]: see `disks`.  batch["mask"] [B H W]: what was predicted before these clicks, from 0 to 1.
    Nothing is clicked or predicted where the batch has none of them.
    embed: spec of the slot, of patches of an image.  radius: of a click, in pixels.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    embed: Spec
    radius: Count = 5

    @property
    def width(self) -> int:
        """D."""
        return self._inner().width

    @property
    def lead(self) -> int:
        """The number of tokens before the patches."""
        return self._inner().lead

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token of the grid to the next."""
        return self._inner().step()

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """An image and CLICKS clicks, where the data does not say otherwise."""
        return {**self._inner().row(length), "clicks": ((CLICKS, 3), np.int32)}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        inner = build("embed", self.embed, name="embed")
        x, ctx = inner(batch, ctx)
        if ctx.grid is None:
            raise XfmError("embed 'clicked' adds clicks to all patches; leave 'visible' out of the batch")
        size = batch["images"].shape[1:3]
        last = batch["mask"] if "mask" in batch else jnp.zeros((len(x), *size))
        clicks = batch["clicks"] if "clicks" in batch else jnp.zeros((len(x), 0, 3), jnp.int32)
        maps = jnp.concatenate([disks(clicks, size, self.radius), last[..., None]], -1).astype(x.dtype)
        added = Linear(x.shape[-1], init=nn.initializers.zeros, name="clicks")(patchify(maps, inner.step()))
        return x.at[:, x.shape[1] - added.shape[1] :].add(added), ctx

    @nn.nowrap
    def _inner(self) -> nn.Module:
        return build("embed", self.embed, parent=None)
