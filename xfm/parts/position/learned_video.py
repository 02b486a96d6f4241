"""One learned vector per tubelet of a video, resized for other grids. Arnab et al. 2021 (ViViT), section 3.4."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.parts.resize import Method, resize_grid


def resize_video(table: Float[Array, "t h w D"], size: tuple[int, int, int], method: Method) -> Float[Array, "T H W D"]:
    """The table at another size, first along time and then within frames."""
    t, h, w, D = table.shape
    table = resize_grid(table.reshape(t, 1, h * w * D), (size[0], 1), method).reshape(size[0], h, w, D)
    table = resize_grid(table.transpose(1, 2, 0, 3).reshape(h, w, -1), size[1:], method)
    return table.reshape(*size[1:], size[0], D).transpose(2, 0, 1, 3)


class LearnedVideo(Position):
    """x + table, whose rows are those of `first` leading tokens, then those of tubelets by time, row and column.

    size: (time, rows, columns) of the grid that the table holds.  first: the number of leading tokens with a vector of
    their own, which is never resized.  resize: how the other rows are resized for another grid.
    """

    size: tuple[Count, Count, Count]
    first: CountOrZero = 1
    resize: Method = "bicubic"

    @nn.compact
    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        """Raises XfmError for a row that is not `first` tokens and the tokens of a grid (t, h, w)."""
        T, D = x.shape[1:]
        grid = ctx.grid if ctx.grid is not None and len(ctx.grid) == 3 else (0, 0, 0)
        cells = grid[0] * grid[1] * grid[2]
        if not cells or T != self.first + cells:
            raise XfmError(
                f"position 'learned_video' needs {self.first} tokens and those of a grid (t, h, w); the grid is "
                f"{ctx.grid}, the row has {T} tokens"
            )
        size = tuple(self.size)
        table = param(self, "table", nn.initializers.normal(0.02), (self.first + size[0] * size[1] * size[2], D))
        own, rest = table[: self.first], table[self.first :].reshape(*size, D)
        rest = resize_video(rest, grid, self.resize).reshape(cells, D)
        return x + jnp.concatenate([own, rest]).astype(x.dtype)
