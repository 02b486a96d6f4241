"""Attention by one fused and normed projection, with values wider than keys and an activation before the last map.

Graham et al. 2021 (LeViT), section 4.2. The oracle is transformers' LevitAttention.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.normed_linear import normed_linear, wide_attention
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

BATCHNORM, NO_POSITION = freeze(dict(kind="batchnorm")), freeze(dict(kind="none"))


class FusedAttention(nn.Module):
    """o_norm(o(activation(attend(q, k, v)))), where q, k and v of a head are side by side in qkv_norm(qkv(x)).

    heads: N.  width: H, of queries and keys.  values: U, of values.  norm: spec of the norm after each map, over all
    its channels; None for a bias in its place.  position: spec of the position slot.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = False

    heads: Count
    width: Count
    values: Count
    norm: Spec | None = BATCHNORM
    position: Spec = NO_POSITION
    activation: str = "hard_swish"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state=None):
        if state is not None:
            raise XfmError("mixer 'fused_attention' keeps no state; give it state=None")
        (B, T, D), N, H, U = x.shape, self.heads, self.width, self.values
        y = normed_linear(ctx.clean(x), N * (2 * H + U), self.norm, "qkv").reshape(B, T, N, -1)
        q, k, v = jnp.split(y, [H, 2 * H], axis=-1)
        position = build(POSITIONS, self.position, name="position")
        (q, k), v = position.rotate(q, k, ctx), position.value(v, ctx)
        y = wide_attention(q, k, v, segments=ctx.attending, mask=ctx.mask, bias=position.bias(N, ctx))
        return normed_linear(activation(self.activation)(y), D, self.norm, "o", axes=2), state
