"""One learned vector per cell of a grid, resized for other grids. Dosovitskiy et al. 2021 (ViT), section 3.2."""

import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.parts.position.sinusoidal_2d import table_of
from xfm.parts.resize import Method, resize_grid
from xfm.spec import SpecError


class LearnedGrid(Position):
    """x + table, whose rows are those of `first` leading tokens, then those of the patches in row-major order.

    size: (rows, columns) of the grid that the table holds, or one number for both.  first: the number of leading
    tokens with a vector of their own, such as one of a class, which is never resized.  resize: how the rows of the
    patches are resized for another grid.  start: "normal" for small random numbers, or "sines" for those of
    position 'sinusoidal_2d', with zeros for leading tokens, which a recipe may keep as they are (He et al. 2022, MAE).
    width: D, which only a stack's own position needs, for layers that each add the table.
    """

    size: Count | tuple[Count, Count]
    first: CountOrZero = 1
    resize: Method = "bicubic"
    start: Literal["normal", "sines"] = "normal"
    width: Count | None = None

    @nn.compact
    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        """Raises XfmError without a grid, and for a row that is not `first` tokens and the tokens of the grid."""
        H, W = (self.size, self.size) if isinstance(self.size, int) else self.size
        T, D = x.shape[1:]
        h, w = ctx.grid if ctx.grid is not None and len(ctx.grid) == 2 else (0, 0)
        if T != self.first + h * w or not h * w:
            raise XfmError(
                f"position 'learned_grid' needs {self.first} tokens and those of a grid (h, w); the grid is "
                f"{ctx.grid}, the row has {T} tokens"
            )
        begin = nn.initializers.normal(0.02) if self.start == "normal" else functools.partial(_sines, (H, W))
        table = param(self, "table", begin, (self.first + H * W, D))
        own, cells = table[: self.first], table[self.first :].reshape(H, W, D)
        cells = resize_grid(cells, (h, w), self.resize).reshape(h * w, D)
        return x + jnp.concatenate([own, cells]).astype(x.dtype)

    def share(self, ctx: Context) -> dict[str, Any]:
        """The table for the context's grid, as "added"."""
        if self.width is None or ctx.grid is None:
            raise SpecError("position 'learned_grid' of a stack needs the width of the stream and images; set width")
        return {"added": self.add(jnp.zeros((1, self.first + math.prod(ctx.grid), self.width)), ctx)}


def _sines(size: tuple[int, int], key, shape: tuple[int, int]) -> Float[Array, "first+H*W D"]:
    """An initialiser of the table."""
    sines = table_of(size, shape[1])
    return jnp.pad(sines, ((shape[0] - len(sines), 0), (0, 0)))
