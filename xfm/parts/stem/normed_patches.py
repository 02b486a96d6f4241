"""Patches with a norm before their linear map and one after it. Kumar, Dehghani, Houlsby 2023 (Dual PatchNorm)."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.split import soft_split
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class NormedPatches(nn.Module):
    """out_norm(W · in_norm(patch) + b), an absent norm being the identity.

    patch: P, the side in pixels.  in_norm: of the pixels of a patch, P · P · C numbers.  out_norm: of the D features,
    before positions are added.
    """

    width: Count
    patch: Count
    in_norm: Spec | None = LAYERNORM
    out_norm: Spec | None = LAYERNORM

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return self.patch, self.patch

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        P = self.patch
        if images.shape[1] % P or images.shape[2] % P:
            raise XfmError(
                f"an image of {images.shape[1]} x {images.shape[2]} does not divide into patches of {P} x {P}"
            )
        x = soft_split(images, P, P, 0)
        if self.in_norm is not None:
            x = build(NORMS, self.in_norm, name="in_norm")(x)
        x = Linear(self.width, name="patch")(x)
        return x if self.out_norm is None else build(NORMS, self.out_norm, name="out_norm")(x)
