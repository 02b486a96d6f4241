"""An inverted bottleneck that widens by a whole convolution, and whose channels a gate of their means scales.

Gupta, Tan, "EfficientNet-EdgeTPU", 2019; Tan, Le, "EfficientNetV2: Smaller Models and Faster Training", 2021, section
3.2 and figure 2 (Fused-MBConv); the gate: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", 2018, equations 2 to 4.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Conv
from xfm.parts.grid import as_grid, of_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build, freeze

BATCHNORM = freeze(dict(kind="batchnorm"))


def squeezed(h: Float[Array, "B T F"], real: Bool[Array, "B T"]) -> Float[Array, "B F"]:
    """The mean of each channel over the real tokens of a row, in float32; 0 for a row without any."""
    total = jnp.where(real[..., None], h, 0).sum(1, dtype=jnp.float32)
    return total / jnp.maximum(real.sum(1, keepdims=True), 1)


class FusedMBConv(nn.Module):
    """out_norm(W (g · h)) with h = a(conv_norm(conv(x))) and g = sigmoid(excite(a(squeeze(mean of h)))).

    hidden: F, of h.  inner: width of the gate's hidden layer.  size: rows and columns of the convolution, odd.
    activation: a.  norm: spec of both norms. The convolution and W have no biases, the gate has.
    A row holds one text, over whose real tokens the mean is. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "takes the mean of a whole row"
    mixes_all: ClassVar[bool] = True

    hidden: Count
    inner: Count
    size: Count | tuple[Count, Count] = 3
    activation: str = "silu"
    norm: Spec = BATCHNORM

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        """Raises SpecError for an even size."""
        both_ways("fused_mbconv", ctx, state)
        p, q = pair(self.size)
        if not p % 2 or not q % 2:
            raise SpecError(f"mixer 'fused_mbconv': size is {p} x {q}; choose odd numbers of rows and columns")
        a = activation(self.activation)
        grid = as_grid(x, of_grid(ctx, x.shape[1]), "mixer 'fused_mbconv'")
        h = Conv(self.hidden, (p, q), (1, 1), (p // 2, q // 2), bias=False, name="conv")(grid)
        h = a(build(NORMS, self.norm, name="conv_norm")(h)).reshape(*x.shape[:2], self.hidden)
        g = a(Linear(self.inner, name="squeeze")(squeezed(h, ctx.real(h)).astype(h.dtype)))
        g = jax.nn.sigmoid(Linear(self.hidden, name="excite")(g))
        y = Linear(x.shape[-1], bias=False, name="out")(h * g[:, None])
        return build(NORMS, self.norm, name="out_norm")(y), None
