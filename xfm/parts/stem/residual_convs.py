"""An image through three small convolutions, two of them beside a skip connection, and then cut into patches.

Liao, Karaman, Sze, "Searching for Efficient Multi-Stage Vision Transformers", 2021, section 3.1, as the authors'
program has it.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class ResidualConvs(nn.Module):
    """patch(z + g(g(z))) with z = g(images) at strides of 2, and g(x) = activation(norm(conv(x))) over 3 x 3.

    patch: pixels of a patch's side, even.  inner: channels of the three convolutions, which have no bias.
    """

    width: Count
    patch: Count = 14
    inner: Count = 24
    activation: str = "relu"
    norm: Spec = BATCHNORM

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return self.patch, self.patch

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        P = self.patch
        if P % 2 or images.shape[1] % P or images.shape[2] % P:
            raise XfmError(
                f"an image of {images.shape[1]} x {images.shape[2]} does not divide into patches of {P} x {P} with an "
                "even side"
            )

        def g(i, x):
            x = Conv(self.inner, (3, 3), (1, 1) if i else (2, 2), (1, 1), bias=False, name=f"conv_{i}")(x)
            return activation(self.activation)(build(NORMS, self.norm, name=f"norm_{i}")(x))

        z = g(0, images)
        z = z + g(2, g(1, z))
        return Conv(self.width, (P // 2, P // 2), (P // 2, P // 2), (0, 0), name="patch")(z)
