"""A video as a sequence: one linear map of each tubelet. Arnab et al. 2021 (ViViT), section 3.2.

Tokens are in the order of time, row and column. The oracles are transformers' VivitModel and VideoMAEModel.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.embed.patches import kept
from xfm.parts.embed.patchify import patchify
from xfm.parts.linear import Linear
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NO_POSITION = freeze(dict(kind="none"))
FRAMES, SIDE = 16, 224  # of a video, where the data does not say another size


def tubelets(video: Float[Array, "B time height width C"], size: tuple[int, int, int]) -> Float[Array, "B t h w n"]:
    """Tubelets, each flattened as (time, row, column, channel). Raises XfmError unless they divide the video."""
    sides = video.shape[1:4]
    if any(side % one for side, one in zip(sides, size, strict=True)):
        raise XfmError(
            f"a video of {sides[0]} frames of {sides[1]} x {sides[2]} does not divide into tubelets of {size[0]} "
            f"frames of {size[1]} x {size[2]}"
        )
    grid = (side // one for side, one in zip(sides, size, strict=True))
    return patchify(video, size).reshape(video.shape[0], *grid, -1)


class Tubelets(Embed):
    """The tokens of batch["video"]: first cls tokens, then tubelets.

    batch["visible"] [B V] are the numbers of the only tubelets that become tokens, if a batch has it; positions are
    added before (Tong et al. 2022, VideoMAE, section 3.2).

    width: D.  tubelet: frames, rows and columns.  cls: learned tokens put first.  position: spec of the position slot,
    of cls tokens and tubelets together.  channels: of a video, those of the first batch if None.  drop: after the
    positions are added.
    """

    whole_row: ClassVar[str | None] = "makes rows of videos, which are all of one length"

    width: Count
    tubelet: tuple[Count, Count, Count]
    cls: CountOrZero = 1
    position: Spec = NO_POSITION
    channels: Count | None = None
    drop: Rate = 0.0

    @property
    def lead(self) -> int:
        """The number of tokens before the tubelets."""
        return self.cls

    @nn.nowrap
    def step(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels from one token of the grid to the next."""
        return tuple(self.tubelet)

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """A video of FRAMES frames of SIDE x SIDE pixels in three colours."""
        return {"video": ((FRAMES, SIDE, SIDE, self.channels or 3), np.float32)}

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        video = batch["video"].astype(ctx.dtype)
        if self.channels not in (None, video.shape[-1]):
            raise XfmError(f"the videos have {video.shape[-1]} channels, the network reads {self.channels}")
        x = tubelets(video, tuple(self.tubelet))
        ctx = ctx.replace(grid=x.shape[1:4])
        x = Linear(self.width, name="patch")(x.reshape(x.shape[0], -1, x.shape[-1]))
        if self.cls:
            cls = param(self, "cls", nn.initializers.normal(0.02), (1, self.cls, self.width)).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(cls, (x.shape[0], *cls.shape[1:])), x], axis=1)
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        if "visible" in batch:
            x, ctx = kept(x, ctx, self.lead, batch["visible"], batch.get("real"))
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train), ctx
