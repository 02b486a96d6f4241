"""An image from the vectors of its patches: one linear map for the pixels of each, set side by side.

Xie et al., "SimMIM: A Simple Framework for Masked Image Modeling" (2022), section 3.3. The oracle is the decoder of
transformers' ViTForMaskedImageModeling, a 1 × 1 convolution whose channels are then shuffled into pixels.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.linear import Linear


def unshuffled(x: Float[Array, "B h*w C*r*r"], grid: tuple[int, int], stride: int) -> Float[Array, "B h*r w*r C"]:
    """The image of a grid of patches in row-major order, whose features are (channel, row, column)."""
    h, w = grid
    x = x.reshape(x.shape[0], h, w, -1, stride, stride)
    return jnp.einsum("bhwcij->bhiwjc", x).reshape(x.shape[0], h * stride, w * stride, -1)


class Pixels(nn.Module):
    """Images [B height width C] from the patches of each row, which follow its cls tokens and registers.

    stride: the side of a token's pixels.  channels: C, of the image.
    """

    stride: Count
    channels: Count = 3

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B height width C"]:
        pixels = Linear(self.channels * self.stride**2, name="out")(ctx.patches(ctx.clean(x)))
        return unshuffled(pixels, ctx.grid, self.stride)
