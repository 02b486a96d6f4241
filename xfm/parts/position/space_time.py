"""One learned vector per place and one per point in time. Bertasius et al. 2021 (TimeSformer), section 3.

The oracle is transformers' TimesformerModel, which resizes both tables by taking the nearest vector.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count, CountOrZero
from xfm.parts.param import param
from xfm.parts.position.base import Position
from xfm.parts.resize import Method, resize_grid


class SpaceTime(Position):
    """x + space[row, column] + time[frame]; leading tokens have rows of `space` alone.

    size: (rows, columns) of a frame in the table, or one number for both.  time: frames in the table, 0 for no table.
    first: leading tokens with a vector of their own.  resize: how both tables are resized for another grid.
    """

    size: Count | tuple[Count, Count]
    time: CountOrZero
    first: CountOrZero = 1
    resize: Method = "nearest"

    @nn.compact
    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        """Raises XfmError for a row that is not `first` tokens and the tokens of a grid (t, h, w)."""
        H, W = (self.size, self.size) if isinstance(self.size, int) else self.size
        T, D = x.shape[1:]
        t, h, w = ctx.grid if ctx.grid is not None and len(ctx.grid) == 3 else (0, 0, 0)
        if T != self.first + t * h * w or not t * h * w:
            raise XfmError(
                f"position 'space_time' needs {self.first} tokens and those of a grid (t, h, w); the grid is "
                f"{ctx.grid}, the row has {T} tokens"
            )
        space = param(self, "space", nn.initializers.normal(0.02), (self.first + H * W, D))
        own, cells = space[: self.first], space[self.first :].reshape(H, W, D)
        cells = resize_grid(cells, (h, w), self.resize).reshape(1, h * w, D)
        cells = jnp.broadcast_to(cells, (t, h * w, D))
        if self.time:
            time = param(self, "time", nn.initializers.normal(0.02), (self.time, D))
            cells += resize_grid(time[:, None], (t, 1), self.resize)
        return x + jnp.concatenate([own, cells.reshape(-1, D)]).astype(x.dtype)
