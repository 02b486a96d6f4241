"""Another head at each patch, without cls tokens and registers, such as BEiT's for visual tokens.

Bao et al. 2022 (BEiT), section 2.3; the oracle is transformers' BeitForMaskedImageModeling.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class OfPatches(nn.Module):
    """head(norm(x)) of the patches of an image, [B h*w any].  head: spec of the head slot.  norm: none if None."""

    head: Spec
    norm: Spec | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B h*w *any"]:
        x = ctx.patches(ctx.clean(x))
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(x)
        return build("head", self.head, name="head")(x, ctx.replace(segments=None, positions=None))
