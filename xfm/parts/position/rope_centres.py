"""Axial rotary positions of patch centres: an image of any size reaches from -1 to 1.

Siméoni et al. 2025 (DINOv3). The oracle is transformers' DINOv3ViTModel in evaluation. The shift, jitter and rescaling
of coordinates with which the authors trained are not here.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Positive
from xfm.parts.position.base import Position
from xfm.parts.position.rope import angles, by_grid


def centres(count: int) -> Float[np.ndarray, " count"]:
    """The centres of `count` equal parts of the range from -1 to 1, rounded as in float32."""
    return np.float32(2) * (np.arange(0.5, count, dtype=np.float32) / np.float32(count)) - np.float32(1)


class RopeCentres(Position):
    """Rotates q and k of the patches: the first half of the channel pairs by the row, the second by the column.

    Pair i of an axis turns by 2π · centre · theta^(-4 i / H). Tokens before the patches do not turn.
    theta: the base of the wavelengths.
    """

    theta: Positive = 100.0

    def rotate(self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], ctx: Context):
        """Raises SpecError without a grid, and for heads of a width that 4 does not divide."""
        return by_grid("rope_centres", q, k, ctx.grid, self.angles)

    def angles(self, h: int, w: int, width: int) -> Float[Array, "h*w half"]:
        """The angles of the patches of a grid, for heads of that width."""
        axes = (axis.ravel() for axis in np.meshgrid(centres(h), centres(w), indexing="ij"))
        return jnp.concatenate([angles(2 * math.pi * axis, width // 2, self.theta) for axis in axes], axis=-1)
