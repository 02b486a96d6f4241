"""Half of the heads attend, half convolve with kernels that each token makes from its own surroundings.

Jiang, Yu, Zhou, Chen, Feng, Yan, "ConvBERT: Improving BERT with Span-based Dynamic Convolution", 2020, sections 4.2
and 4.3. In the paper's convolutions padding counts as text. Here a convolution reads the tokens of one segment
only, so that the output for a text does not depend on padding or packing.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count, Rate
from xfm.kernels.attention import Dropout, attention
from xfm.kernels.conv import depthwise
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.param import param
from xfm.spec import SpecError


def dynamic_convolution(
    v: Float[Array, "B T N H"], kernel: Float[Array, "B T N W"], segments: Int[Array, "B T"] | None = None
) -> Float[Array, "B T N H"]:
    """y_t = sum_w kernel_tw v_{t + w - W // 2} head by head within segments, summed in float32. Section 4.1."""
    return depthwise(v, jnp.moveaxis(kernel, -1, 0)[..., None], segments=segments)


class Separable(nn.Module):
    """A convolution over each channel, then a map of each token: [B T D] -> [B T features]. Chollet 2017."""

    features: int
    conv: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], segments: Int[Array, "B T"] | None) -> Float[Array, "B T features"]:
        D = x.shape[-1]
        small = nn.initializers.normal(0.02)
        depth = param(self, "depth", small, (self.conv, 1, D))
        point = param(self, "point", small, (1, D, self.features))
        bias = param(self, "bias", nn.initializers.zeros, (1, self.features))
        y = depthwise(x, depth[:, 0], segments=segments)
        return y @ point[0].astype(x.dtype) + bias[0].astype(x.dtype)


class MixedAttention(nn.Module):
    """N heads of attention beside N of dynamic convolution, all of width H = D / 2N.

    heads: N.  conv: W, odd, tokens that a kernel spans.  drop: rate of dropout on the attention weights.
    The queries serve both: multiplied by a convolution of the stream (`span`), they determine the kernels.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    heads: Count
    conv: Count = 9
    drop: Rate = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("mixed_attention", ctx, state)
        ctx.refuse_heard("mixer 'mixed_attention'")
        (B, T, D), N, W = x.shape, self.heads, self.conv
        if W < 1 or W % 2 == 0:
            raise SpecError(f"mixed_attention: conv is an odd number of tokens, not {W}")
        if N < 1 or D % (2 * N):
            raise SpecError(f"mixed_attention: a width of {D} does not divide among 2 · {N} heads")
        x, H, segments = ctx.clean(x), D // (2 * N), ctx.segments
        q, k, v, local = (Linear((N, H), name=name)(x) for name in ("q", "k", "v", "local"))
        drop = Dropout.of(self.drop, self.make_rng("dropout")) if self.drop and ctx.train else None
        attended = attention(q, k, v, segments=segments, dropout=drop)

        span = Separable(N * H, W, name="span")(x, segments)
        chosen = Linear((N, W), name="choose")(span * q.reshape(B, T, N * H))
        kernel = jax.nn.softmax(chosen.astype(jnp.float32), axis=-1)
        convolved = dynamic_convolution(local, kernel, segments)
        y = jnp.concatenate([attended, convolved], axis=-2)
        return Linear(D, axes=2, name="o")(y), None
