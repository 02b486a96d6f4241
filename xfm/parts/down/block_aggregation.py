"""Block aggregation: a convolution over the whole grid, a norm, the maximum of overlapping tiles, and new positions.

Zhang, Zhang, Zhao, Chen, Arik, Pfister, "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and
Interpretable Visual Understanding", 2022, section 3.1. It is where tokens of different blocks meet. The oracle is
timm's Nest, whose jx models put the edge of the tiles where the authors' program does.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.down.grid import check_divides, coarser
from xfm.parts.down.strided_conv import Conv
from xfm.parts.grid import as_grid
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build, freeze

NORM = freeze(dict(kind="layernorm"))
NO_POSITION = freeze(dict(kind="none"))
EDGES = {"end": (0, 1), "both": (1, 0)}


def largest(x: Float[Array, "B h w D"], edge: tuple[int, int]) -> Float[Array, "B h/2 w/2 D"]:
    """The maximum in each channel of tiles of 3 x 3 at strides of 2.

    edge: rows and columns, before and after the grid, that tiles reach beyond it.
    """
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), edge, edge, (0, 0)])


class BlockAggregation(nn.Module):
    """position(max(norm(conv(x)))), both the convolution and the maximum being over 3 x 3 tokens, the latter at strides
    of 2.

    width: of the output.  norm: of each token.  position: spec of a position that is added to the coarser grid.
    edge: where the tiles reach beyond the grid, "end" (below and to the right, the authors' program) or "both" (above
    and to the left; as in PyTorch, whose tiles are centred at the even tokens).
    Padding counts as zeros in the convolution and not at all in the maximum; a token is real where one of its tile is.
    """

    width: Count
    norm: Spec = NORM
    position: Spec = NO_POSITION
    edge: Literal["end", "both"] = "end"

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return 2, 2

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B T/4 width"], Context]:
        grid, edge = as_grid(x, ctx, "down 'block_aggregation'"), EDGES[self.edge]
        check_divides(ctx, (2, 2), "down 'block_aggregation'")
        y = Conv(self.width, (3, 3), (1, 1), (1, 1), bias=True, name="conv")(grid)
        y = build(NORMS, self.norm, name="norm")(y)
        real = None
        if ctx.segments is not None:
            own = ctx.segments.reshape(grid.shape[:3])
            y = jnp.where(own[..., None] > 0, y, -jnp.inf)
            around = [(0, 0), edge, edge]
            real = jax.lax.reduce_window(own, 0, jax.lax.max, (1, 3, 3), (1, 2, 2), around)
        y = largest(y, edge)
        y = y if real is None else jnp.where(real[..., None] > 0, y, 0)
        ctx = coarser(ctx, real, y.shape[1:3])
        y = y.reshape(x.shape[0], -1, self.width)
        return build(POSITIONS, self.position, name="position").add(y, ctx), ctx
