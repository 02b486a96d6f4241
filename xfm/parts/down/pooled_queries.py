"""The layer between two stages of Hiera: attention whose queries, and whose skip connection, are maxima over tiles.

Ryali et al. 2023 (Hiera), section 3.2 and figure 5, after Fan et al. 2021 (MViT), section 3.1. The oracle is
transformers' HieraLayer, whose tokens are in another order in memory.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import attention
from xfm.parts.down.grid import check_divides, coarser, tiles
from xfm.parts.down.pool import max_of
from xfm.parts.grid import as_grid, pair, segments_of
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build, freeze

NORM, PLAIN = freeze(dict(kind="layernorm")), freeze(dict(kind="plain"))


def maxima(x: Float[Array, "B h w *any"], size: tuple[int, int], real: Array) -> Float[Array, "B H W *any"]:
    """The maximum in each channel over the real tokens of each tile; zeros where none is."""
    x, real = tiles(x, size), tiles(real, size)
    (B, h, w, p, q), rest = x.shape[:5], x.shape[5:]
    return max_of(x.reshape(B, h, w, p * q, -1), real.reshape(B, h, w, p * q, 1)).reshape(B, h, w, *rest)


def rows_of(x: Float[Array, "B h w *any"], size: tuple[int, int]) -> Float[Array, "B*n p*q *any"]:
    """Each tile of p rows and q columns as a row of its own."""
    (p, q), rest = size, x.shape[3:]
    return tiles(x, size).reshape(-1, p * q, *rest)


class PooledQueries(nn.Module):
    """x = residual(max(skip(n)), o(attend(max(q(n)), k(n), v(n)))), n = in_norm(x); then residual(x, ffn(ffn_norm(x))).

    width: of the output.  heads: N, each of width / N.  size: rows and columns of the tiles over which maxima are
    taken.  window: rows and columns of the finer grid within which tokens attend, a multiple of `size`; the whole grid
    if None.  ffn: spec of the ffn slot.  norm, residual: specs of their slots.
    """

    width: Count
    heads: Count
    ffn: Spec
    size: Count | tuple[Count, Count] = 2
    window: Count | tuple[Count, Count] | None = None
    norm: Spec = NORM
    residual: Spec = PLAIN

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return pair(self.size)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        kind, B, N, size = "down 'pooled_queries'", x.shape[0], self.heads, pair(self.size)
        if self.width % N:
            raise SpecError(f"{kind}: a width of {self.width} does not divide among {N} heads; set heads or width")
        x = as_grid(build(NORMS, self.norm, name="in_norm")(ctx.clean(x)), ctx, kind)
        window = ctx.grid if self.window is None else pair(self.window)
        check_divides(ctx, size, kind)
        check_divides(ctx, window, kind)
        segments = segments_of(ctx)
        real = jnp.ones((B, *ctx.grid), bool) if segments is None else segments > 0
        q, k, v = (Linear((N, self.width // N), name=name)(x) for name in "qkv")
        q, skip = (maxima(a, size, real) for a in (q, Linear(self.width, name="skip")(x)))
        coarse = coarser(ctx, None if segments is None else tiles(segments, size).max((3, 4)), q.shape[1:3])
        inner = tuple(side // s for side, s in zip(window, size, strict=True))
        pairs = None if segments is None else (rows_of(segments_of(coarse), inner), rows_of(segments, window))
        y = attention(rows_of(q, inner), rows_of(k, window), rows_of(v, window), segments=pairs)
        y = Linear(self.width, axes=2, name="o")(together(y, q.shape[1:3], inner))
        x = skip.reshape(B, -1, self.width)
        x = build("residual", self.residual, name="attention_skip")(x, y, coarse)
        y, _ = build("ffn", self.ffn, name="ffn")(build(NORMS, self.norm, name="ffn_norm")(x), coarse)
        return build("residual", self.residual, name="ffn_skip")(x, y, coarse), coarse


def together(x: Float[Array, "B*n p*q N H"], grid: tuple[int, int], size: tuple[int, int]) -> Float[Array, "B T N H"]:
    """The inverse of `rows_of`, with the grid's tokens as one row."""
    (h, w), (p, q), rest = grid, size, x.shape[2:]
    x = x.reshape(-1, h // p, w // q, p, q, *rest).swapaxes(2, 3)
    return x.reshape(-1, h * w, *rest)
