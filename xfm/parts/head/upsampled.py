"""A larger image from the map of an image: convolutions whose channels are shuffled into pixels.

Shi, Caballero, Huszár, Totz, Aitken, Bishop, Rueckert, Wang, "Real-Time Single Image and Video Super-Resolution Using
an Efficient Sub-Pixel Convolutional Neural Network", 2016, section 3.2; in steps of two, with the convolutions before
and after, as in the programs of SwinIR (Liang et al. 2021) and HAT (Chen et al. 2023).
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.conv import Conv
from xfm.parts.head.maps import map_of
from xfm.parts.head.pixels import unshuffled
from xfm.spec import SpecError

SLOPE = 0.01  # of the leaky rectifier below 0


def steps(factor: int) -> list[int]:
    """The factors of the steps: twos where they make up the factor, else the factor alone, which is then 3."""
    twos = factor.bit_length() - 1
    if factor == 2**twos:
        return [2] * twos
    if factor != 3:
        raise SpecError(f"head 'upsampled' enlarges by 3 or by a power of 2, not by {factor}")
    return [3]


class Upsampled(nn.Module):
    """Images [B r·h r·w C] from the patches of each row, which follow its cls tokens and registers.

    factor: r.  channels: C.  width: of the maps that are enlarged. All convolutions read 3 x 3 positions.
    """

    factor: Count
    channels: Count = 3
    width: Count = 64

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B height width C"]:
        def conv(width, name, x):
            return Conv(width, (3, 3), (1, 1), (1, 1), name=name)(x)

        x = jax.nn.leaky_relu(conv(self.width, "conv_in", map_of(x, ctx, "head 'upsampled'")), SLOPE)
        for i, factor in enumerate(steps(self.factor)):
            x = conv(self.width * factor**2, f"conv_{i}", x)
            x = unshuffled(x.reshape(x.shape[0], -1, x.shape[-1]), x.shape[1:3], factor)
        return conv(self.channels, "conv_out", x)
