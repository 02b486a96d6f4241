"""An image as a sequence: one linear map of each patch. Dosovitskiy et al. 2021 (ViT), section 3.1.

A stem may take the place of that map; what it makes is read in row-major order.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero, Rate
from xfm.parts.embed.base import Embed
from xfm.parts.embed.patchify import patchify
from xfm.parts.embed.units import shown, strip
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.parts.stem import STEMS
from xfm.spec import Spec, SpecError, build, freeze

NO_POSITION = freeze(dict(kind="none"))
SIDE = 224  # pixels


def masked(x: Float[Array, "B T D"], hidden: Bool[Array, "B T"], token: Float[Array, "D"]) -> Float[Array, "B T D"]:
    """The token in the place of each hidden patch. Raises XfmError unless `hidden` has a number for each patch."""
    if hidden.shape != x.shape[:2]:
        raise XfmError(
            f"the batch's hidden has the shape {hidden.shape}; it must be {x.shape[:2]}, a number for each patch"
        )
    return jnp.where(hidden[..., None] != 0, token, x)


def kept(
    x: Float[Array, "B T D"], ctx: Context, lead: int, visible: Int[Array, "B V"], real: Int[Array, "B V"] | None
) -> tuple[Float[Array, "B lead+V D"], Context]:
    """The leading tokens and the visible patches, with a context without a grid. He et al. 2022 (MAE), section 3.

    visible: numbers of patches in row-major order of the grid.  real: 0 at those that are padding, none if None.
    """
    patches = jnp.take_along_axis(x[:, lead:], visible[..., None], axis=1)
    if real is not None:
        ctx = ctx.replace(segments=jnp.pad(real.astype(jnp.int32), ((0, 0), (lead, 0)), constant_values=1))
    return jnp.concatenate([x[:, :lead], patches], axis=1), ctx.replace(grid=None)


class Patches(Embed):
    """The tokens of batch["images"]: first cls tokens, then registers, then patches.

    With a mask, batch["hidden"] [B patches] may say which patches are replaced; see `mask`. batch["visible"] [B V] are
    the numbers of the only patches that become tokens, if a batch has it, or of the only units of patches; positions
    are added before.

    width: D.  patch: P, or (rows, columns).  stem: spec of the stem slot, instead of a patch.
    cls: learned tokens put first (1 for ViT, 2 for a distilled DeiT).
    registers: learned tokens without a position, after cls (Darcet et al. 2024).  position: spec of the position slot,
    of cls tokens and patches together.  channels: of an image, those of the first batch if None.  mask: "token" for a
    learned vector that takes the place of each hidden patch, before positions are added (Bao et al. 2022, BEiT); None
    for a network that reads whole images.  norm, drop: after the positions are added, no norm if None.  bias: of the
    map of a patch.  unit: rows and columns of patches that are visible or hidden as a whole (see units.py); None for
    single patches.
    """

    whole_row: ClassVar[str | None] = "makes rows of images, which are all of one length"

    width: Count
    patch: Count | tuple[Count, Count] | None = None
    stem: Spec | None = None
    cls: CountOrZero = 1
    registers: CountOrZero = 0
    position: Spec = NO_POSITION
    channels: Count | None = None
    mask: Literal["token"] | None = None
    norm: Spec | None = None
    drop: Rate = 0.0
    bias: bool = True
    unit: tuple[Count, Count] | None = None

    @property
    def lead(self) -> int:
        """The number of tokens before the patches."""
        return self.cls + self.registers

    @nn.nowrap
    def row(self, length: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """An image of SIDE x SIDE pixels in three colours, where the data does not say another size."""
        return {"images": ((SIDE, SIDE, self.channels or 3), np.float32)}

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token of the grid to the next."""
        if self.stem is not None:
            return build(STEMS, self.stem, width=self.width, parent=None).step()
        return (self.patch, self.patch) if isinstance(self.patch, int) else tuple(self.patch)

    @nn.compact
    def __call__(self, batch: Mapping[str, Array], ctx: Context):
        images = batch["images"].astype(ctx.dtype)
        if self.channels not in (None, images.shape[-1]):
            raise XfmError(f"the images have {images.shape[-1]} channels, the network reads {self.channels}")
        if self.unit is not None and "visible" in batch:
            sides = (n * p for n, p in zip(self.unit, self.step(), strict=True))
            images = shown(images, batch["visible"], tuple(sides))
        x = self._grid(images, ctx)
        ctx = ctx.replace(grid=x.shape[1:3])
        x = x.reshape(x.shape[0], -1, self.width)
        x = self._masked(x, batch.get("hidden"))

        x = jnp.concatenate([*self._learned("cls", self.cls, x), x], axis=1)
        x = build(POSITIONS, self.position, name="position").add(x, ctx)
        first, patches = jnp.split(x, [self.cls], axis=1)
        x = jnp.concatenate([first, *self._learned("registers", self.registers, x), patches], axis=1)
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        if self.unit is not None and "visible" in batch:
            x, ctx = strip(x, ctx, self.lead, batch["visible"], self.unit)
        elif "visible" in batch:
            x, ctx = kept(x, ctx, self.lead, batch["visible"], batch.get("real"))
        return nn.Dropout(self.drop)(x, deterministic=not ctx.train), ctx

    def _grid(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        """The tokens of the image alone, as a grid."""
        if (self.patch is None) == (self.stem is None):
            raise SpecError("embed 'patches' has either a patch, its side in pixels, or a stem; set one of them")
        if self.stem is not None:
            return build(STEMS, self.stem, width=self.width, name="stem")(images, ctx)
        p, q = self.step()
        x = Linear(self.width, self.bias, name="patch")(patchify(images, (p, q)))
        return x.reshape(x.shape[0], images.shape[1] // p, images.shape[2] // q, self.width)

    def _masked(self, x: Float[Array, "B T D"], hidden: Bool[Array, "B T"] | None) -> Float[Array, "B T D"]:
        """The patches, those that are hidden replaced by the mask's token."""
        if self.mask is None and hidden is not None:
            raise XfmError(
                "the batch marks hidden patches, but the network has no token for them; set mask in the embedding"
            )
        if self.mask is None:
            return x
        token = param(self, "mask", nn.initializers.normal(0.02), (x.shape[-1],)).astype(x.dtype)
        return x if hidden is None else masked(x, hidden, token)

    def _learned(self, name: str, count: int, x: Float[Array, "B T D"]) -> list[Float[Array, "B count D"]]:
        if count == 0:
            return []
        tokens = param(self, name, nn.initializers.normal(0.02), (1, count, x.shape[-1])).astype(x.dtype)
        return [jnp.broadcast_to(tokens, (x.shape[0], *tokens.shape[1:]))]
