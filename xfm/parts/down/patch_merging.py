"""Patch merging: four neighbouring tokens are concatenated, normalised and mapped to the new width.

Liu et al. 2021 (Swin), section 3.1. The order of the four, the norm before the map, and in Swin v2 (Liu et al. 2022)
after it, follow the authors' programs.
"""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.down.grid import check_divides, coarser, filled, tiles
from xfm.parts.grid import as_grid
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build, freeze

NORM = freeze(dict(kind="layernorm"))


def merged(x: Float[Array, "B h w D"]) -> Float[Array, "B h/2 w/2 4*D"]:
    """Each tile of 2 x 2 tokens as one vector, in the order upper left, lower left, upper right, lower right."""
    x = tiles(x, (2, 2)).swapaxes(3, 4)
    return x.reshape(*x.shape[:3], -1)


class PatchMerging(nn.Module):
    """out_norm(W · norm([x_00, x_10, x_01, x_11])), without a bias, over half as many rows and columns.

    width: of the output, twice the input's if None, as in Swin.  norm: over the 4 D features.  out_norm: over those of
    the output (Swin v2). Either may be None.
    uneven: whether a grid with an odd side is "refused", or "padded" by a row or column of zeros at the end.
    A merged token is real where any of its four tokens is; padding among them counts as zeros.
    """

    width: Count | None = None
    norm: Spec | None = NORM
    out_norm: Spec | None = None
    uneven: Literal["refused", "padded"] = "refused"

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return 2, 2

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B T/4 width"], Context]:
        grid = as_grid(x, ctx, "down 'patch_merging'")
        if self.uneven == "refused":
            check_divides(ctx, (2, 2), "down 'patch_merging'")
        y = merged(filled(grid, (2, 2)))
        if self.norm is not None:
            y = build(NORMS, self.norm, name="norm")(y)
        y = Linear(self.width or 2 * x.shape[-1], bias=False, name="out")(y)
        if self.out_norm is not None:
            y = build(NORMS, self.out_norm, name="out_norm")(y)
        h, w = y.shape[1:3]
        real = None
        if ctx.segments is not None:
            real = tiles(filled(ctx.segments.reshape(grid.shape[:3]), (2, 2)), (2, 2)).max((3, 4))
        return y.reshape(x.shape[0], h * w, -1), coarser(ctx, real, (h, w))
