"""Axial rotary positions: half of the channel pairs turn by the patch's row, half by its column.

Heo et al. 2024 (RoPE-ViT), section 3.2, the axial form; Fang et al. 2023 (EVA-02), whose pairs are neighbours and whose
rows come first. Leading tokens that are not patches do not turn.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count, Positive
from xfm.parts.position.base import Position
from xfm.parts.position.rope import Pairs, angles, rotate
from xfm.spec import SpecError


class Rope2D(Position):
    """Rotates q and k by their row and column; needs a grid in the context and a head width that 4 divides.

    theta: the base of the wavelengths.  pairs: the channels that turn together, as in `rope`.
    first: the axis by which the first half of the pairs turns.
    size: (rows, columns) of the grid for which positions are learned: those of others are scaled to it (EVA-02). None
    counts the patches of any grid.
    """

    theta: Positive = 100.0
    pairs: Pairs = "halves"
    first: Literal["column", "row"] = "column"
    size: tuple[Count, Count] | None = None

    def rotate(self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context):
        T, H = q.shape[1], q.shape[-1]
        if ctx.grid is None or len(ctx.grid) != 2 or T < ctx.grid[0] * ctx.grid[1]:
            raise SpecError(
                f"position 'rope_2d' needs the tokens of a grid (h, w); the grid is {ctx.grid}, the row has {T} tokens"
            )
        if H % 4:
            raise SpecError(f"position 'rope_2d' needs heads of a width that 4 divides, not {H}")
        h, w = ctx.grid
        counts = [jnp.arange(n) for n in (h, w)]
        if self.size is not None:
            counts = [at / n * own for at, n, own in zip(counts, (h, w), self.size, strict=True)]
        row, column = (axis.ravel() for axis in jnp.meshgrid(*counts, indexing="ij"))
        axes = (column, row) if self.first == "column" else (row, column)
        turn = jnp.concatenate([angles(axis, H // 2, self.theta) for axis in axes], -1)
        turn = jnp.pad(turn, ((T - h * w, 0), (0, 0)))[None]
        return rotate(q, turn, self.pairs), rotate(k, turn, self.pairs)
