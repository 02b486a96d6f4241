"""Residual spatial reduction: a convolution with strides, and beside it the mean of each tile with more channels.

Liao, Karaman, Sze, "Searching for Efficient Multi-Stage Vision Transformers", 2021, section 3.1 and figure 2.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context, positions_within
from xfm.fields import Count, CountOrZero
from xfm.parts.conv import Conv
from xfm.parts.down.grid import check_divides
from xfm.parts.grid import as_grid
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

LAYERNORM, NO_POSITION = freeze(dict(kind="layernorm")), freeze(dict(kind="none"))


def widened(x: Float[Array, "B T D"], width: int) -> Float[Array, "B T width"]:
    """x with zeros in further channels."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))


class ResidualReduction(nn.Module):
    """position(conv(norm(x))) + the mean of 2 x 2 tokens of x, whose further channels are 0.

    Tokens before those of the grid become W norm(x) + x.
    width: of the output, at least D.  tokens: the number of tokens before those of the grid.  position: spec of a
    position that is added to the coarser grid.
    The convolution is over 3 x 3 tokens, in which padding counts as zeros; the mean is of a tile's real tokens, and the
    coarser token is real where there are any. Raises SpecError for rows of another length, and for a smaller width.
    """

    width: Count
    tokens: CountOrZero = 1
    norm: Spec = LAYERNORM
    position: Spec = NO_POSITION

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return 2, 2

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S width"], Context]:
        n, x = self.tokens, ctx.clean(x)
        if self.width < x.shape[-1]:
            raise SpecError(
                f"down 'residual_reduction' keeps the {x.shape[-1]} channels of the stream; a width of {self.width} is "
                "less"
            )
        h = build(NORMS, self.norm, name="norm")(x)
        fine = ctx.replace(positions=None, segments=None if ctx.segments is None else ctx.segments[:, n:])
        grid = as_grid(h[:, n:], fine, "down 'residual_reduction'")
        check_divides(ctx, (2, 2), "down 'residual_reduction'")
        y = Conv(self.width, (3, 3), (2, 2), (1, 1), name="conv")(grid).reshape(x.shape[0], -1, self.width)
        pooled, coarse = build("down", dict(kind="pool"), name="pool")(x[:, n:], fine)
        y = build(POSITIONS, self.position, name="position").add(y, coarse) + widened(pooled, self.width)
        if n == 0:
            return y, coarse
        first = Linear(self.width, name="first")(h[:, :n]) + widened(x[:, :n], self.width)
        if ctx.segments is not None:
            segments = jnp.concatenate([ctx.segments[:, :n], coarse.segments], axis=1)
            coarse = coarse.replace(segments=segments, positions=jnp.where(segments > 0, positions_within(segments), 0))
        return jnp.concatenate([first, y], axis=1), coarse
