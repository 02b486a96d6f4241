"""Manhattan self-attention: attention over a grid, or along its rows and then its columns, beside a local convolution.

Fan, Huang, Chen, Liu, He, "RMT: Retentive Networks Meet Vision Transformers", 2024, section 3.2; the decay itself is
the position `grid_decay`. The convolution of the values is that of Dong et al. 2022 (CSWin). The oracle is
the authors' program.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.kernels.attention import attention
from xfm.parts.conv import Depthwise
from xfm.parts.grid import of_grid, pair
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

DECAY = freeze(dict(kind="grid_decay"))


class Manhattan(nn.Module):
    """o(attended(q, k, v) + conv(v)).

    heads: N.  position: spec of the position slot.  size: rows and columns of the convolution of the values, odd.
    along: "grid" for attention of each token to all of its segment; "axes" for attention along each row, and of what it
    gives along each column, with the same q and k (the decomposition). A bias then reads a grid of one row, or
    of one column. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    heads: Count
    position: Spec = DECAY
    size: Count | tuple[Count, Count] = 5
    along: Literal["grid", "axes"] = "grid"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("manhattan", ctx, state)
        (B, T, D), N = x.shape, self.heads
        if D % N:
            raise SpecError(f"mixer 'manhattan': a width of {D} does not divide among {N} heads; set heads")
        ctx, x = of_grid(ctx, T), ctx.clean(x)
        position = build(POSITIONS, self.position, name="position")
        q, k, v = (Linear((N, D // N), name=name)(x) for name in "qkv")
        local = Depthwise(pair(self.size), "mixer 'manhattan'", name="conv")(v.reshape(B, T, D), ctx)
        (q, k), v = position.rotate(q, k, ctx), position.value(v, ctx)
        if self.along == "grid":
            y = attention(q, k, v, segments=ctx.segments, bias=position.bias(N, ctx))
        else:
            y = self._along_axes(q, k, v, position, ctx)
        return Linear(D, axes=2, name="o")(y + local.reshape(y.shape)), None

    def _along_axes(self, q, k, v, position, ctx: Context) -> Float[Array, "B T N H"]:
        """v mixed along each row, and the result along each column."""
        h, w = ctx.grid
        for grid in ((1, w), (h, 1)):
            by_column = grid[1] == 1 and grid != (1, w)

            def lines(a, by_column=by_column):
                """Each row of the grid, or each column, as a row of its own."""
                a = a.reshape(-1, h, w, *a.shape[2:])
                return (a.swapaxes(1, 2) if by_column else a).reshape(-1, h if by_column else w, *a.shape[3:])

            segments = None if ctx.segments is None else lines(ctx.segments)
            bias = position.bias(self.heads, ctx.replace(grid=grid))
            y = attention(lines(q), lines(k), lines(v), segments=segments, bias=bias)
            v = jnp.swapaxes(y.reshape(-1, w, h, *y.shape[2:]), 1, 2) if by_column else y
            v = v.reshape(q.shape[0], h * w, *y.shape[2:])
        return v
