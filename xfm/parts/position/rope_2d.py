"""Axial rotary positions: half of the channel pairs turn by the patch's row, half by its column.

Heo et al. 2024 (RoPE-ViT), section 3.2, the axial form. Leading tokens that are not patches do not turn.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Positive
from xfm.parts.position.base import Position
from xfm.parts.position.rope import angles, rotate
from xfm.spec import SpecError


class Rope2D(Position):
    """Rotates q and k by their row and column; needs a grid in the context and a head width that 4 divides.

    theta: the base of the wavelengths.
    """

    theta: Positive = 100.0

    def rotate(self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context):
        T, H = q.shape[1], q.shape[-1]
        if ctx.grid is None or len(ctx.grid) != 2 or T < ctx.grid[0] * ctx.grid[1]:
            raise SpecError(
                f"position 'rope_2d' needs the tokens of a grid (h, w); the grid is {ctx.grid}, the row has {T} tokens"
            )
        if H % 4:
            raise SpecError(f"position 'rope_2d' needs heads of a width that 4 divides, not {H}")
        h, w = ctx.grid
        row, column = (axis.ravel() for axis in jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij"))
        turn = jnp.concatenate([angles(column, H // 2, self.theta), angles(row, H // 2, self.theta)], -1)
        turn = jnp.pad(turn, ((T - h * w, 0), (0, 0)))[None]
        return rotate(q, turn), rotate(k, turn)
