"""Convolutions of a grid of tokens: over all channels with strides, and channel by channel."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.kernels.conv import depthwise_grid
from xfm.parts.grid import as_grid, of_grid, segments_of
from xfm.parts.param import param


def convolved(
    x: Float[Array, "B h w D"], kernel: Float[Array, "p q D E"], stride: tuple[int, int], margin: tuple[int, int]
) -> Float[Array, "B H W E"]:
    """y[i, j] = sum over (a, b) of x[i · stride - margin + (a, b)] kernel[a, b], with zeros outside the grid."""
    return jax.lax.conv_general_dilated(
        x, kernel, stride, [(m, m) for m in margin], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class Conv(nn.Module):
    """Owns the kernel and the bias of a convolution of a grid."""

    width: int
    size: tuple[int, int]
    stride: tuple[int, int]
    margin: tuple[int, int]
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W width"]:
        init = nn.initializers.lecun_normal(in_axis=(0, 1, 2), out_axis=3)
        kernel = param(self, "kernel", init, (*self.size, x.shape[-1], self.width)).astype(x.dtype)
        y = convolved(x, kernel, self.stride, self.margin)
        return y + param(self, "bias", nn.initializers.zeros, (self.width,)).astype(x.dtype) if self.bias else y


class Depthwise(nn.Module):
    """Owns the kernel and the bias of a convolution of each channel with itself, within segments.

    size: rows and columns, odd.  kind: the part's name in errors. A row without a grid is a grid of one row.
    """

    size: tuple[int, int]
    kind: str
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        D, ctx = x.shape[-1], of_grid(ctx, x.shape[1])
        kernel = param(self, "kernel", nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2), (*self.size, D))
        bias = param(self, "bias", nn.initializers.zeros, (D,)) if self.bias else None
        y = depthwise_grid(as_grid(x, ctx, self.kind), kernel, bias=bias, segments=segments_of(ctx))
        return y.reshape(x.shape)
