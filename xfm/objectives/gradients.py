"""Histograms of oriented gradients, a target that shows edges and leaves out brightness. Dalal, Triggs 2005.

As a target of masked images: Wei et al., "Masked Feature Prediction" (2022); the settings are those of the program of
Wang et al. (LocalMIM, 2023).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xfm.errors import XfmError


def slopes(images: Float[Array, "B height width C"]) -> tuple[Float[Array, "B height width C"], ...]:
    """Sobel's differences along columns and along rows of each channel; the border is mirrored, without its edge."""
    x = jnp.pad(images.astype(jnp.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    across, down = x[:, :, :-2] - x[:, :, 2:], x[:, :-2] - x[:, 2:]
    return across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:], down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]


def direction(across: Float[Array, "*any"], down: Float[Array, "*any"], bins: int) -> Int[Array, "*any"]:
    """The bin of each angle, atan2(across, down) modulo π: bin k begins with the angle k π / bins.

    By the sides of the bins' edges on which the slope lies, so that angles on an edge, which mirrored borders give, are
    in the same bin whatever XLA makes of a division.
    """
    down = jnp.where(across == 0, jnp.abs(down), jnp.where(across < 0, -down, down))
    edges = np.arange(1, bins) * np.pi / bins
    sides = jnp.abs(across)[..., None] * np.cos(edges).astype(np.float32) - down[..., None] * np.sin(edges).astype(
        np.float32
    )
    return (sides >= 0).sum(-1) * ((across != 0) | (down != 0))


def histograms(
    images: Float[Array, "B height width C"], cell: int, bins: int
) -> Float[Array, "B height/cell width/cell C*bins"]:
    """Of each cell of `cell` x `cell` pixels and each channel, the magnitudes by direction, as a vector of length 1.

    A direction and its opposite are one; the half circle has `bins` bins, and each pixel counts in one of them. A cell
    without any slope has zeros. Raises XfmError for an image that the cells do not divide.
    """
    B, height, width, C = images.shape
    if height % cell or width % cell:
        raise XfmError(f"cells of {cell} x {cell} pixels do not divide an image of {height} x {width}")
    across, down = slopes(images)
    own = direction(across, down, bins)
    by_bin = jax.nn.one_hot(own, bins) * jnp.sqrt(across**2 + down**2)[..., None]
    pooled = by_bin.reshape(B, height // cell, cell, width // cell, cell, C, bins).mean((2, 4))
    length = jnp.sqrt((pooled**2).sum(-1, keepdims=True))
    return (pooled / jnp.maximum(length, 1e-12)).reshape(*pooled.shape[:3], -1)
