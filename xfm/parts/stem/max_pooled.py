"""The maximum over tiles that overlap, after another stem. He et al. 2016 (ResNet), table 1."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.parts.activation import activation
from xfm.spec import Spec, build


def max_pooled(x: Float[Array, "B h w D"], size: int, stride: int, margin: int) -> Float[Array, "B H W D"]:
    """The maximum of each channel over tiles of size x size at strides; there is nothing in the margin."""
    around = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, stride, stride, 1), around)


class MaxPooled(nn.Module):
    """max_pooled(activation(stem(images))).

    stem: spec of a stem without its width, which is this one's.  size, stride, margin: of the tiles.
    """

    width: Count
    stem: Spec
    activation: str = "relu"
    size: Count = 3
    stride: Count = 2
    margin: CountOrZero = 1

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        rows, columns = build("stem", {**self.stem, "width": self.width}, parent=None).step()
        return self.stride * rows, self.stride * columns

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        x = build("stem", {**self.stem, "width": self.width}, name="stem")(images, ctx)
        return max_pooled(activation(self.activation)(x), self.size, self.stride, self.margin)
