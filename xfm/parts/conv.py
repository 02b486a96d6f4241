"""Convolutions of a grid of tokens, over all channels or channel by channel, with strides and without."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.kernels.conv import depthwise_grid
from xfm.kernels.counting import stated
from xfm.kernels.platform import platform
from xfm.parts.grid import as_grid, of_grid, segments_of
from xfm.parts.param import param


def convolved(
    x: Float[Array, "B h w D"], kernel: Float[Array, "p q D E"], stride: tuple[int, int], margin: tuple[int, int]
) -> Float[Array, "B H W E"]:
    """y[i, j] = sum over (a, b) of x[i · stride - margin + (a, b)] kernel[a, b], with zeros outside the grid.

    Tiles that lie side by side are one matrix product, whose gradients are products too: of a convolution with strides
    they cost a CPU two to six times as much.
    """
    (p, q), (up, across) = kernel.shape[:2], stride
    if (p, q) == (1, 1) and margin == (0, 0):
        x, up, across = x[:, ::up, ::across], 1, 1
    if (p, q) == (up, across) and margin == (0, 0):
        H, W = x.shape[1] // p, x.shape[2] // q
        tiles = x[:, : H * p, : W * q].reshape(len(x), H, p, W, q, x.shape[3])
        return jnp.einsum("bhpwqd,pqde->bhwe", tiles, kernel)
    return jax.lax.conv_general_dilated(
        x, kernel, stride, [(m, m) for m in margin], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def depthwise_strided(
    x: Float[Array, "B h w D"], kernel: Float[Array, "p q D"], stride: tuple[int, int]
) -> Float[Array, "B H W D"]:
    """y[i, j] = sum over (a, b) of x[i · stride - margin + (a, b)] kernel[a, b], channel by channel.

    The margin of zeros is p // 2 rows and q // 2 columns. On a CPU it is a sum of grids, whose gradient is faster there
    (see `xfm.kernels.conv.xla.depthwise_grid`).
    """
    (p, q, D), (up, across), sums = kernel.shape, stride, jnp.promote_types(x.dtype, jnp.float32)
    around = [(p // 2, p // 2), (q // 2, q // 2)]
    if platform() != "cpu":
        kernel, layout = kernel.astype(x.dtype)[:, :, None], ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, stride, around, dimension_numbers=layout, feature_group_count=D)
    x = jnp.pad(x, [(0, 0), *around, (0, 0)])
    h, w = (side - size + 1 for side, size in zip(x.shape[1:3], (p, q), strict=True))
    y = sum(
        kernel[a, b].astype(sums) * x[:, a : a + h : up, b : b + w : across].astype(sums)
        for a in range(p)
        for b in range(q)
    )
    return stated(y.astype(x.dtype), 2 * p * q)


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


class StridedDepthwise(nn.Module):
    """Owns the kernel of a convolution of each channel with itself, with strides.  size: rows and columns, odd."""

    size: tuple[int, int]
    stride: tuple[int, int]

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W D"]:
        init = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)
        return depthwise_strided(x, param(self, "kernel", init, (*self.size, x.shape[-1])), self.stride)


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
