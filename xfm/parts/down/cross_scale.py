"""Tiles of several sizes around the same centres, as one token each. Wang et al. 2022 (CrossFormer), section 3.1."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.down.grid import coarser
from xfm.parts.grid import as_grid
from xfm.parts.norm import NORMS
from xfm.parts.scales import Scales
from xfm.spec import Spec, build


class CrossScale(nn.Module):
    """The concatenated convolutions of all sizes over norm(x); the i-th of them has width / 2^i channels, the last two
    as many.

    width: of the output.  sizes: sides of the tiles, larger than the stride by even numbers.  stride: rows and columns
    between two tiles.  norm: of each token before, none if None.
    An output token is real where any token of its largest tile is; padding counts as zeros.
    """

    width: Count
    sizes: tuple[Count, ...] = (2, 4)
    stride: Count = 2
    norm: Spec | None = None

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return self.stride, self.stride

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        if self.norm is not None:
            x = build(NORMS, self.norm, name="norm")(ctx.clean(x))
        grid = as_grid(x, ctx, "down 'cross_scale'")
        y = Scales(self.width, tuple(self.sizes), self.stride, "down 'cross_scale'", name="scales")(grid)
        real = None
        if ctx.segments is not None:
            largest, stride = max(self.sizes), self.stride
            around = [(0, 0), *[((largest - stride) // 2,) * 2] * 2]
            own = ctx.segments.reshape(grid.shape[:3])
            real = jax.lax.reduce_window(own, 0, jax.lax.max, (1, largest, largest), (1, stride, stride), around)
        h, w = y.shape[1:3]
        return y.reshape(x.shape[0], h * w, self.width), coarser(ctx, real, (h, w))
