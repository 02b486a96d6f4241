"""Fixed sines and cosines of a patch's row and column, half of the channels each.

He et al. 2022 (masked autoencoders), appendix A.1; Chen et al. 2021 (MoCo v3). Leading tokens that are not patches
(a class token) get zeros.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Positive
from xfm.parts.position.base import Position
from xfm.parts.position.sinusoidal import sinusoids


def table_of(grid: tuple[int, int], width: int, base: float = 10_000.0) -> Float[Array, "h*w D"]:
    """[sinusoids(column), sinusoids(row)] of each patch in row-major order."""
    h, w = grid
    row, column = (axis.ravel() for axis in jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij"))
    return jnp.concatenate([sinusoids(column, width // 2, base), sinusoids(row, width // 2, base)], -1)


class Sinusoidal2D(Position):
    """x + [sinusoids(column), sinusoids(row)]; needs a grid in the context and a width that 4 divides."""

    base: Positive = 10_000.0

    def add(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        (h, w), (T, D) = ctx.grid, x.shape[1:]
        table = table_of((h, w), D, self.base)
        return x + jnp.pad(table, ((T - h * w, 0), (0, 0))).astype(x.dtype)
