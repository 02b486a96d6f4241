"""An image from the maps of a pyramid, parts of which are hidden: holes are filled, and a light U-Net enlarges them.

Tian, Jiang, Diao, Lin, Wang, Yuan, "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked
Modeling" (SparK, 2023), section 3.2; widths, convolutions and norms follow the authors' program.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.conv import Conv
from xfm.parts.head.conv_norm import ConvNorm
from xfm.parts.head.maps import maps_of
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, SpecError, build, freeze

LAYERNORM, BATCHNORM = freeze(dict(kind="layernorm", eps=1e-6)), freeze(dict(kind="batchnorm"))


def enlarged(
    x: Float[Array, "B h w D"], kernel: Float[Array, "4 4 D E"], bias: Float[Array, "E"]
) -> Float[Array, "B 2*h 2*w E"]:
    """y[2 i - 1 + a, 2 j - 1 + b] = bias + the sum of x[i, j] kernel[a, b], which is cut off outside the map.

    It is the transposed convolution of size 4, stride 2 and margin 1.
    """
    layout, around = ("NHWC", "HWIO", "NHWC"), [(2, 2), (2, 2)]
    turned = kernel[::-1, ::-1]
    return jax.lax.conv_general_dilated(x, turned, (1, 1), around, (2, 2), dimension_numbers=layout) + bias


class Enlarge(nn.Module):
    """Owns the kernel and the bias of `enlarged`, which keeps the width."""

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W D"]:
        D = x.shape[-1]
        init = nn.initializers.lecun_normal(in_axis=(0, 1, 2), out_axis=3)
        kernel, bias = param(self, "kernel", init, (4, 4, D, D)), param(self, "bias", nn.initializers.zeros, (D,))
        return enlarged(x, kernel.astype(x.dtype), bias.astype(x.dtype))


class Filled(nn.Module):
    """conv(norm(x), with one learned vector at all positions that are not visible).

    width: of the convolution.  size: of its square tiles, odd; None for no convolution.
    """

    width: int
    size: int | None
    norm: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"], visible: Bool[Array, "B h w"]) -> Float[Array, "B h w width"]:
        x = build(NORMS, self.norm, name="norm")(x)
        mask = param(self, "mask", nn.initializers.normal(0.02), (x.shape[-1],)).astype(x.dtype)
        x = jnp.where(visible[..., None], x, mask)
        if self.size is None:
            return x
        size, margin = (self.size, self.size), (self.size // 2, self.size // 2)
        return Conv(self.width, size, (1, 1), margin, name="conv")(x)


class UNetPixels(nn.Module):
    """Images [B height width C] from the maps in ctx.features, each of which has twice the sides of the next one.

    A position is hidden where the token of the coarsest map that covers it is padding. Each map is normalised and
    filled; a convolution of 1 x 1 positions then gives the coarsest one the width of the U-Net, unless it has it, and
    convolutions of 3 x 3 positions the others. Each doubling of the sides is out_i(in_i(up_i(x))): a transposed
    convolution and two of 3 x 3 positions with norms, the first of which has the activation and the second half the
    width; the next finer map, if there is one, is added.
    doublings: of the sides from the coarsest map to the image.  width: at the coarsest map, which is halved so often.
    channels: C.  map_norm: of the maps; it reads positions one by one, since hidden ones hold zeros.  norm: after
    convolutions.
    """

    doublings: Count
    width: Count = 768
    channels: Count = 3
    map_norm: Spec = LAYERNORM
    norm: Spec = BATCHNORM
    activation: str = "relu6"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B height width C"]:
        maps = maps_of(x, ctx, "head 'unet_pixels'")[::-1]
        self._check([one.shape[1:3] for one in maps])
        visible = ctx.patches(ctx.real(x)).reshape(x.shape[0], *ctx.grid)
        filled = []
        for i, one in enumerate(maps):
            width, size = self.width // 2**i, 3 if i else 1
            size = None if i == 0 and one.shape[-1] == width else size
            filled.append(Filled(width, size, self.map_norm, name=f"map_{i}")(one, visible))
            visible = visible.repeat(2, 1).repeat(2, 2)
        y = filled[0]
        for i in range(self.doublings):
            y, width = Enlarge(name=f"up_{i}")(y), self.width // 2**i
            y = ConvNorm(width, 3, self.norm, self.activation, name=f"in_{i}")(y)
            y = ConvNorm(width // 2, 3, self.norm, name=f"out_{i}")(y)
            y = y + filled[i + 1] if i + 1 < len(filled) else y
        return Linear(self.channels, name="out")(y)

    def _check(self, sizes: list[tuple[int, int]]) -> None:
        """Raises SpecError where the maps are not of doubled sides, are too many, or the width cannot be halved."""
        doubled = [(h * 2**i, w * 2**i) for i, (h, w) in enumerate(sizes[:1] * len(sizes))]
        if sizes != doubled or len(sizes) > self.doublings + 1:
            raise SpecError(
                f"head 'unet_pixels' doubles the sides of a map {self.doublings} times and adds maps of these sides, "
                f"and the maps have, from the coarsest on, {sizes}; choose stages that halve the grid, and as many "
                "doublings as lead from the last one to the image"
            )
        if self.width % 2**self.doublings:
            raise SpecError(
                f"head 'unet_pixels' halves its width {self.doublings} times, which {self.width} cannot be; choose a "
                f"multiple of {2**self.doublings}"
            )
