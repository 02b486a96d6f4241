"""Patches with a norm before their linear map and one after it.

Kumar, Dehghani, Houlsby 2023 (Dual PatchNorm); with the second norm alone: Liu et al. 2021 (Swin).
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class NormedPatches(nn.Module):
    """out_norm(W · in_norm(patch) + b), an absent norm being the identity.

    patch: P, the side in pixels, or (rows, columns).  in_norm: of the pixels of a patch, P · P · C numbers.  out_norm:
    of the D features, before positions are added.
    uneven: whether images that patches do not fill are "refused", or "padded" by zeros at the right and at the bottom.
    """

    width: Count
    patch: Count | tuple[Count, Count]
    in_norm: Spec | None = LAYERNORM
    out_norm: Spec | None = LAYERNORM
    uneven: Literal["refused", "padded"] = "refused"

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return (self.patch, self.patch) if isinstance(self.patch, int) else tuple(self.patch)

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        (p, q), (B, height, width, C) = self.step(), images.shape
        if self.uneven == "refused" and (height % p or width % q):
            raise XfmError(f"an image of {height} x {width} does not divide into patches of {p} x {q}")
        images = jnp.pad(images, ((0, 0), (0, -height % p), (0, -width % q), (0, 0)))
        x = images.reshape(B, -(-height // p), p, -(-width // q), q, C).swapaxes(2, 3)
        x = x.reshape(*x.shape[:3], p * q * C)
        if self.in_norm is not None:
            x = build(NORMS, self.in_norm, name="in_norm")(x)
        x = Linear(self.width, name="patch")(x)
        return x if self.out_norm is None else build(NORMS, self.out_norm, name="out_norm")(x)
