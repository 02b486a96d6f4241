"""The layer between two stages of LeViT: every other token of the grid attends to all of them.

Graham et al. 2021 (LeViT), section 4.2, "shrinking attention". The oracle is transformers' LevitAttentionSubsample.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import Dense
from xfm.parts.activation import activation
from xfm.parts.down.grid import coarser
from xfm.parts.grid import as_grid, pair, segments_of
from xfm.parts.normed_linear import normed_linear, wide_attention
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

BATCHNORM, NO_POSITION, PLAIN = (freeze(dict(kind=kind)) for kind in ("batchnorm", "none", "plain"))


class SubsampledAttention(nn.Module):
    """x = o_norm(o(activation(attend(q, k, v)))), then residual(x, ffn(x)), with q of each stride-th row and column.

    width: of the output.  heads: N.  keys: H, of queries and keys.  values: U, of values.  stride: rows and columns.
    ffn: spec of the ffn slot, none if None.  norm: spec of the norm after each map, None for a bias in its place.
    position: spec of the position slot, of the finer grid.  residual: around the ffn.
    """

    width: Count
    heads: Count
    keys: Count
    values: Count
    stride: Count | tuple[Count, Count] = 2
    ffn: Spec | None = None
    norm: Spec | None = BATCHNORM
    position: Spec = NO_POSITION
    activation: str = "hard_swish"
    residual: Spec = PLAIN

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return pair(self.stride)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        (B, T, D), N, (p, q) = x.shape, self.heads, pair(self.stride)
        x, segments = as_grid(x, ctx, "down 'subsampled_attention'"), segments_of(ctx)
        chosen = np.arange(T).reshape(ctx.grid)[::p, ::q]
        coarse = coarser(ctx, None if segments is None else segments[:, ::p, ::q], chosen.shape)
        y = normed_linear(x.reshape(B, T, D), N * (self.keys + self.values), self.norm, "kv").reshape(B, T, N, -1)
        k, v = jnp.split(y, [self.keys], axis=-1)
        asks = normed_linear(x[:, ::p, ::q].reshape(B, -1, D), N * self.keys, self.norm, "q").reshape(
            B, -1, N, self.keys
        )
        bias = build(POSITIONS, self.position, name="position").bias(N, ctx)
        if bias is not None:
            rows = jax.vmap(lambda n: bias.block(0, n, jnp.asarray(chosen.ravel()), jnp.arange(T)))(jnp.arange(N))
            bias = Dense(rows[None])
        pairs = None if segments is None else (coarse.segments, ctx.segments)
        y = activation(self.activation)(wide_attention(asks, k, v, segments=pairs, bias=bias))
        x = normed_linear(y, self.width, self.norm, "o", axes=2)
        if self.ffn is None:
            return x, coarse
        y, _ = build("ffn", self.ffn, name="ffn")(x, coarse)
        return build("residual", self.residual, name="ffn_skip")(x, y, coarse), coarse
