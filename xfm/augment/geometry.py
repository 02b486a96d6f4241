"""What moves an image's pixels: crops that are scaled, affine maps, and blur, for one image under jit.

Scaling and blur are products with a matrix for rows and one for columns, whose entries depend on traced numbers while
their shapes do not. Pillow is the oracle (tests/augment).
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

Image = Float[Array, "H W C"]
Scalar = Float[Array, ""]
Filter = Literal["bilinear", "bicubic"]


def triangle(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """The kernel of bilinear scaling, 0 from distance 1 on."""
    return jnp.maximum(1 - jnp.abs(x), 0)


def cubic(x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Keys' kernel of bicubic scaling with a = -1/2, 0 from distance 2 on."""
    x = jnp.abs(x)
    near, far = 1 + x * x * (1.5 * x - 2.5), -0.5 * (((x - 5) * x + 8) * x - 4)
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


KERNELS = {"bilinear": (triangle, 1.0), "bicubic": (cubic, 2.0)}  # with its support


def scaling(source: int, target: int, start: Scalar, length: Scalar, filter: Filter) -> Float[Array, "target source"]:
    """The weights of the pixels of one axis that scale the part [start, start + length) to `target` pixels.

    A smaller image is low-pass filtered by as much as it shrinks. Pixels outside the part do not count.
    """
    kernel, support = KERNELS[filter]
    scale = length / target
    wide = jnp.maximum(scale, 1.0)
    middle = (jnp.arange(target)[:, None] + 0.5) * scale + start
    pixel = jnp.arange(source)[None]
    near = (pixel >= jnp.floor(middle - support * wide + 0.5)) & (pixel < jnp.floor(middle + support * wide + 0.5))
    inside = near & (pixel >= start) & (pixel < start + length)
    weights = jnp.where(inside, kernel((pixel + 0.5 - middle) / wide), 0.0)
    return weights / jnp.maximum(weights.sum(1, keepdims=True), 1e-6)


def scaled(x: Image, size: tuple[int, int], box: tuple[Scalar, Scalar, Scalar, Scalar], filter: Filter) -> Image:
    """The part (top, left, height, width) of an image, in whole pixels, scaled to `size`; not rounded."""
    top, left, height, width = box
    rows = scaling(x.shape[0], size[0], top, height, filter)
    columns = scaling(x.shape[1], size[1], left, width, filter)
    return jnp.einsum("ph,hwc,qw->pqc", rows, x, columns, precision="highest")


def blur(x: Image, radius: Scalar) -> Image:
    """A Gaussian of that standard deviation in pixels; at the edges, the pixels outside do not count."""

    def along(size):
        distance = jnp.arange(size)[:, None] - jnp.arange(size)[None]
        weights = jnp.exp(-0.5 * (distance / jnp.maximum(radius, 1e-3)) ** 2)
        return weights / weights.sum(1, keepdims=True)

    return jnp.einsum("ph,hwc,qw->pqc", along(x.shape[0]), x, along(x.shape[1]), precision="highest")


def affine(x: Image, matrix: Float[Array, "2 3"], fill: Float[Array, "C"]) -> Image:
    """The image in which the pixel at (column, row) is the one at matrix · (column, row, 1), bilinear; not rounded.

    Positions are those of the pixels' middles, 0.5 for the first. `fill` is there where the image does not reach.
    """
    x, (H, W) = jnp.asarray(x), x.shape[:2]
    column, row = jnp.meshgrid(jnp.arange(W) + 0.5, jnp.arange(H) + 0.5)
    u = matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]
    v = matrix[1, 0] * column + matrix[1, 1] * row + matrix[1, 2]
    inside = (u >= 0) & (u < W) & (v >= 0) & (v < H)
    left, top = jnp.floor(u - 0.5), jnp.floor(v - 0.5)
    across, down = (u - 0.5 - left)[..., None], (v - 0.5 - top)[..., None]

    def at(i, j):
        return x[jnp.clip(i, 0, H - 1).astype(jnp.int32), jnp.clip(j, 0, W - 1).astype(jnp.int32)]

    upper = at(top, left) * (1 - across) + at(top, left + 1) * across
    lower = at(top + 1, left) * (1 - across) + at(top + 1, left + 1) * across
    return jnp.where(inside[..., None], upper * (1 - down) + lower * down, fill)
