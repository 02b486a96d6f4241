"""Overlapping cross-attention: the queries of a window attend to the keys of a larger one around it.

Chen, Wang, Zhou, Qiao, Dong, "Activating More Pixels in Image Super-Resolution Transformer" (HAT), 2023, section 3.4,
equation 5. What the larger windows hold outside the grid follows the authors' program: keys and values of zero, which
take part with the bias of their offset.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from xfm.context import Context
from xfm.fields import Count, CountOrZero
from xfm.kernels.attention import Dense, attention
from xfm.parts.grid import of_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.mixer.groups import check_grid
from xfm.parts.mixer.windowed import Windows
from xfm.parts.param import param
from xfm.spec import SpecError


def around(x: Shaped[Array, "B T *any"], windows: Windows, reach: tuple[int, int]) -> Shaped[Array, "B*n P*Q *any"]:
    """Each window with `reach` rows and columns more on every side, as a row, with zeros outside the grid."""
    (h, w), (H, W), (p, q), (r, s), rest = windows.grid, windows.whole, windows.size, reach, x.shape[2:]
    x = jnp.pad(x.reshape(-1, h, w, *rest), [(0, 0), (r, H - h + r), (s, W - w + s), *[(0, 0)] * len(rest)])
    rows, columns = (
        jnp.arange(side // own)[:, None] * own + jnp.arange(own + 2 * more)
        for side, own, more in ((H, p, r), (W, q, s))
    )
    x = x[:, rows][:, :, :, columns].swapaxes(2, 3)  # [B, windows down, windows across, P, Q, …]
    return x.reshape(-1, (p + 2 * r) * (q + 2 * s), *rest)


def offsets_bias(
    table: Float[Array, "2*P-1 2*Q-1 N"], size: tuple[int, int], reach: tuple[int, int]
) -> Float[Array, "1 N p*q P*Q"]:
    """The numbers of a table at the offsets query - key, whose middle is offset (0, 0)."""
    found = []
    for own, more, rows in zip(size, reach, table.shape, strict=False):
        found.append(jnp.arange(own)[:, None] - jnp.arange(-more, own + more)[None] + rows // 2)
    dy, dx = found
    bias = table[dy[:, None, :, None], dx[None, :, None, :]]  # [p, q, P, Q, N]
    return jnp.moveaxis(bias.reshape(dy.shape[0] * dx.shape[0], -1, table.shape[-1]), -1, 0)[None]


class Overlapping(nn.Module):
    """Multi-head attention of the tokens of each window to those of the window and of `reach` rows and columns around.

    heads: N.  window: rows and columns of the windows of queries, or one number for both; no more than the grid has.
    reach: rows and columns on every side; in the paper half the overlap ratio times the window. With 0 it is attention
    within windows.  bias: on q, k and v.
    A learned table has a bias for each head and offset. A row without a grid is one of 1 x T.
    Raises SpecError for a stream that holds other tokens than the grid's.
    """

    whole_row: ClassVar[str | None] = "cuts a whole row into windows"
    mixes_all: ClassVar[bool] = False

    heads: Count
    window: Count | tuple[Count, Count]
    reach: CountOrZero | tuple[CountOrZero, CountOrZero]
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("overlapping", ctx, state)
        x, ctx, (_, T, D), N = ctx.clean(x), of_grid(ctx, x.shape[1]), x.shape, self.heads
        check_grid("overlapping", T, ctx.grid)
        if D % N:
            raise SpecError(f"mixer 'overlapping': a width of {D} does not divide among {N} heads; set heads")
        size, reach = pair(self.window), pair(self.reach)
        shape = (*(2 * (p + r) - 1 for p, r in zip(size, reach, strict=True)), N)
        table = param(self, "table", nn.initializers.normal(0.02), shape)
        size = tuple(min(p, side) for p, side in zip(size, ctx.grid, strict=True))
        windows = Windows(ctx.grid, size, (0, 0))
        q, k, v = (Linear((N, D // N), self.bias, name=name)(x) for name in "qkv")
        y = attention(
            windows.cut(q),
            around(k, windows, reach),
            around(v, windows, reach),
            segments=self._segments(ctx, windows, reach),
            bias=Dense(offsets_bias(table, size, reach)),  # of a window, whatever the image: it does not grow with T
        )
        return windows.join(Linear(D, axes=2, name="o")(y)), None

    def _segments(self, ctx: Context, windows: Windows, reach: tuple[int, int]):
        """Those of queries and of keys, zeros outside the grid having the last segment of their row."""
        if ctx.segments is None and ctx.heard is None:
            return None
        keys = ctx.keys
        queries = jnp.ones_like(keys) if ctx.segments is None else ctx.segments
        outside = queries.max(axis=1, keepdims=True)
        again = jnp.repeat(outside, windows.cut(queries[:1]).shape[0], axis=0)
        return windows.cut(queries - outside) + again, around(keys - outside, windows, reach) + again
