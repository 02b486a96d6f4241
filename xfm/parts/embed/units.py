"""Units of an image: rectangles of patches that are visible or hidden as a whole. Ryali et al. 2023 (Hiera), section 4.

The oracle is transformers' HieraForPreTraining.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.embed.patchify import patchify


def shown(
    images: Float[Array, "B height width C"], visible: Int[Array, "B V"], unit: tuple[int, int]
) -> Float[Array, "B height width C"]:
    """The images with zeros in hidden units, so that a stem whose patches overlap reads nothing of these.

    visible: numbers of units in row-major order.  unit: rows and columns of its pixels.
    Raises XfmError for units that do not divide the image.
    """
    B, height, width, _ = images.shape
    (p, q), (h, w) = unit, (height // unit[0], width // unit[1])
    if height % p or width % q:
        raise XfmError(f"an image of {height} x {width} does not divide into units of {p} x {q}")
    seen = jnp.zeros((B, h * w), bool).at[jnp.arange(B)[:, None], visible].set(True)
    return jnp.where(seen.reshape(B, h, w, 1).repeat(p, 1).repeat(q, 2), images, 0)


def strip(
    x: Float[Array, "B T D"], ctx: Context, lead: int, visible: Int[Array, "B V"], unit: tuple[int, int]
) -> tuple[Float[Array, "B S D"], Context]:
    """The leading tokens and those of the visible units, which are one below the other in the new grid.

    What acts within units, and attention over all tokens, finds there what it finds in the whole grid.
    visible: numbers of units in row-major order of ctx.grid.  unit: rows and columns of its tokens.
    """
    (B, _, D), (u, v), V = x.shape, unit, visible.shape[1]
    whole = patchify(x[:, lead:].reshape(B, *ctx.grid, D), unit)
    kept = jnp.take_along_axis(whole, visible[..., None], axis=1).reshape(B, V * u * v, D)
    return jnp.concatenate([x[:, :lead], kept], axis=1), ctx.replace(grid=(V * u, v))
