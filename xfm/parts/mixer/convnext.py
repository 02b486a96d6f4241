"""ConvNeXt's block: a depthwise convolution with a large kernel, a norm, and an inverted bottleneck.

Liu et al. 2022 (ConvNeXt), section 2.6 and figure 4; Woo et al. 2023 (ConvNeXt V2), section 3.2 and algorithm 1, for
the global response normalisation of the hidden units.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count, Positive
from xfm.parts.activation import activation
from xfm.parts.conv import Depthwise
from xfm.parts.grid import pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, build, freeze

NORM = freeze(dict(kind="layernorm"))


def response(x: Float[Array, "B T F"], eps: float, segments: Int[Array, "B T"] | None = None) -> Float[Array, "B T F"]:
    """Each channel's L2 norm over the tokens of a segment, over the mean of all channels' norms; in float32."""
    squares = jnp.square(x.astype(jnp.float32))
    if segments is None:
        total = squares.sum(axis=1, keepdims=True)
    else:
        own = (segments[:, :, None] == segments[:, None, :]) & (segments > 0)[:, None, :]
        total = jnp.einsum("bts,bsf->btf", own.astype(jnp.float32), squares, precision="highest")
    norms = jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1.0)), 0.0)  # whose slope at 0 is not infinite
    return norms / (norms.mean(axis=-1, keepdims=True) + eps)


class ResponseNorm(nn.Module):
    """scale · x · response(x) + bias + x; at first the identity."""

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "B T F"], ctx: Context) -> Float[Array, "B T F"]:
        scale, bias = (param(self, name, nn.initializers.zeros, (x.shape[-1],)) for name in ("gain", "bias"))
        y = x * response(x, self.eps, ctx.segments).astype(x.dtype)
        return scale.astype(x.dtype) * y + bias.astype(x.dtype) + x


class ConvNeXt(nn.Module):
    """down(response_norm(activation(up(norm(conv(x)))))).

    hidden: F.  size: rows and columns of the convolution, odd.  norm: spec of the norm slot.  response: epsilon of the
    global response normalisation, which there is none of if None. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    hidden: Count
    size: Count | tuple[Count, Count] = 7
    activation: str = "gelu"
    norm: Spec = NORM
    response: Positive | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("convnext", ctx, state)
        y = Depthwise(pair(self.size), "mixer 'convnext'", name="conv")(x, ctx)
        y = Linear(self.hidden, name="up")(build(NORMS, self.norm, name="norm")(y))
        y = ctx.clean(activation(self.activation)(y))
        if self.response is not None:
            y = ResponseNorm(self.response, name="response_norm")(y, ctx)
        return Linear(x.shape[-1], name="down")(y), None
