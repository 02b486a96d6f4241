"""A stem between two norms. Lu, Xie, Liu, Zhang 2022 (DHVT), whose norms are scales and biases."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class NormedStem(nn.Module):
    """out_norm(activation(stem(in_norm(images)))), an absent norm being the identity.

    stem: spec of the stem slot.  in_norm: over the colours of each pixel.  out_norm: of each token.
    """

    width: Count
    stem: Spec
    in_norm: Spec | None = None
    out_norm: Spec | None = None
    activation: str = "identity"

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return build("stem", self.stem, width=self.width, parent=None).step()

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        x = images if self.in_norm is None else build(NORMS, self.in_norm, name="in_norm")(images)
        x = build("stem", self.stem, width=self.width, name="stem")(x, ctx)
        x = activation(self.activation)(x)
        return x if self.out_norm is None else build(NORMS, self.out_norm, name="out_norm")(x)
