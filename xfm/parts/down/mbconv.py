"""Patch merging by an inverted bottleneck whose convolution has strides. Wu et al. 2022 (TinyViT), section 3.3."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import StridedDepthwise
from xfm.parts.down.grid import coarser
from xfm.parts.grid import as_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


class MBConvDown(nn.Module):
    """down_norm(down(activation(conv_norm(conv(activation(up_norm(up(x)))))))), without biases but those of the norms.

    width: of the output.  hidden: F, of the convolution, which is of each channel with itself; the width if None.
    stride: rows and columns from one output to the next.  size: rows and columns of the convolution, odd; the margin of
    zeros is size // 2.  norm: spec of all three norms.
    An output token is real where any token of its tile is; padding counts as zeros.
    """

    width: Count
    hidden: Count | None = None
    stride: Count | tuple[Count, Count] = 2
    size: Count | tuple[Count, Count] = 3
    activation: str = "gelu"
    norm: Spec = BATCHNORM

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return pair(self.stride)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        f, F, size, stride = activation(self.activation), self.hidden or self.width, pair(self.size), pair(self.stride)
        h = Linear(F, bias=False, name="up")(ctx.clean(x))
        grid = as_grid(f(build(NORMS, self.norm, name="up_norm")(h)), ctx, "down 'mbconv'")
        h = StridedDepthwise(size, stride, name="conv")(grid)
        h = f(build(NORMS, self.norm, name="conv_norm")(h))
        y = build(NORMS, self.norm, name="down_norm")(Linear(self.width, bias=False, name="down")(h))
        real = None
        if ctx.segments is not None:
            around = [(0, 0), *((side // 2, side // 2) for side in size)]
            there = ctx.segments.reshape(grid.shape[:3])
            real = jax.lax.reduce_window(there, 0, jax.lax.max, (1, *size), (1, *stride), around)
        return y.reshape(x.shape[0], -1, self.width), coarser(ctx, real, y.shape[1:3])
