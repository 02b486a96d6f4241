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
from xfm.parts.position.rope import Pairs, angles, by_grid


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
        """Raises SpecError without a grid, and for heads of a width that 4 does not divide."""
        return by_grid("rope_2d", q, k, ctx.grid, self.angles, self.pairs)

    def angles(self, h: int, w: int, width: int) -> Float[Array, "h*w half"]:
        """The angles of the patches of a grid, for heads of that width."""
        counts = [jnp.arange(n) for n in (h, w)]
        if self.size is not None:
            counts = [at / n * own for at, n, own in zip(counts, (h, w), self.size, strict=True)]
        row, column = (axis.ravel() for axis in jnp.meshgrid(*counts, indexing="ij"))
        axes = (column, row) if self.first == "column" else (row, column)
        return jnp.concatenate([angles(axis, width // 2, self.theta) for axis in axes], -1)
