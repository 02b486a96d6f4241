"""Linear attention with a ReLU on queries and keys, beside which a convolution of the values keeps what is local.

Guo, Chen, Tang, Wang, "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized
Batch Normalization", 2024, equations 9 and 10; that keys have positions of their own follows the authors' program.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.platform import product
from xfm.parts.conv import Depthwise
from xfm.parts.grid import of_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

NO_POSITION = freeze(dict(kind="none"))


def relu_attention(q: Float[Array, "B T N H"], k: Float[Array, "B S N H"], v: Float[Array, "B S N H"]):
    """q⁺ (k⁺ᵀ v) / (q⁺ · sum of k⁺) with x⁺ = relu(x), in float32: the cost is linear in the length."""
    q, k = (jax.nn.relu(a.astype(jnp.float32)) for a in (q, k))
    mixed = product("btnh,bnhe->btne", q, product("bsnh,bsne->bnhe", k, v.astype(jnp.float32)))
    total = product("btnh,bnh->btn", q, k.sum(1))
    return (mixed / (total[..., None] + 1e-6)).astype(v.dtype)


class ReluAttention(nn.Module):
    """o(relu_attention(q, k + p, v) + conv(v)), with one kernel of the convolution for all heads.

    heads: N.  position: spec of a position that is added to the keys.  size: rows and columns of the convolution, odd.
    bias: of q, k and v.  A row holds one text. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = "sums over a whole row"
    mixes_all: ClassVar[bool] = True

    heads: Count
    position: Spec = NO_POSITION
    size: Count | tuple[Count, Count] = 5
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("relu_attention", ctx, state)
        ctx.refuse_heard("mixer 'relu_attention'")
        (B, T, D), N = x.shape, self.heads
        if D % N:
            raise SpecError(f"relu_attention: a width of {D} does not divide among {N} heads; set heads")
        x, H = ctx.clean(x), D // N
        q, k, v = (Linear((N, H), self.bias, name=name)(x) for name in "qkv")
        k = build(POSITIONS, self.position, name="position").add(k.reshape(B, T, D), ctx).reshape(B, T, N, H)
        real = ctx.real(x)[..., None, None]
        y = relu_attention(q, jnp.where(real, k, 0), jnp.where(real, v, 0))
        each = of_grid(ctx, T)
        each = each.replace(segments=None if each.segments is None else jnp.repeat(each.segments, N, axis=0))
        by_head = v.swapaxes(1, 2).reshape(B * N, T, H)
        local = Depthwise(pair(self.size), "mixer 'relu_attention'", name="conv")(by_head, each)
        y = y + local.reshape(B, N, T, H).swapaxes(1, 2)
        return Linear(D, axes=2, name="o")(y), None
