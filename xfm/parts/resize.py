"""Resizing a table over a grid, such as one of learned positions, as the frameworks resize images.

A separable resize is one matrix for the rows and one for the columns, and both are constants of the two sizes. The
oracle is torch.nn.functional.interpolate with align_corners=False and antialias as the name says; the cubic kernel is
that of Keys 1981, whose parameter is -0.75 there without antialiasing and -0.5 with it.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Method = Literal["nearest", "bilinear", "bicubic", "bilinear_antialiased", "bicubic_antialiased"]


def resize_grid(
    table: Float[Array, "h w D"], size: tuple[int, int], method: Method = "bicubic"
) -> Float[Array, "H W D"]:
    """The table at another size (H, W), computed in float32; a table that already has it is returned unchanged."""
    h, w, _ = table.shape
    if (h, w) == tuple(size):
        return table
    rows, columns = resize_matrix(h, size[0], method), resize_matrix(w, size[1], method)
    wide = jnp.einsum("Hh,hwD->HwD", rows, table.astype(jnp.float32), precision="highest")
    return jnp.einsum("Ww,HwD->HWD", columns, wide, precision="highest").astype(table.dtype)


Enlarge = Literal["nearest", "bilinear"]


def resize_maps(
    x: Float[Array, "B h w D"], size: tuple[int, int], method: Enlarge = "bilinear"
) -> Float[Array, "B H W D"]:
    """Maps at another size (H, W), without antialiasing, in the dtype of x.

    Along a side that grows by a whole factor, bilinear samples are computed as means of two neighbours; along other
    sides by `resize_matrix`.
    """
    for axis, after in ((1, size[0]), (2, size[1])):
        before = x.shape[axis]
        nearest = method == "nearest" and before != after
        x = x.take(np.arange(after) * before // after, axis) if nearest else _stretched(x, axis, after)
    return x


def resize_corners(x: Float[Array, "B h w D"], size: tuple[int, int]) -> Float[Array, "B H W D"]:
    """Maps at another size (H, W), bilinear, their first and last samples being those of x: align_corners=True."""
    for axis, after in ((1, size[0]), (2, size[1])):
        if x.shape[axis] != after:
            matrix = jnp.asarray(corners_matrix(x.shape[axis], after), x.dtype)
            x = jnp.moveaxis(jnp.tensordot(matrix, x, (1, axis), precision="highest"), 0, axis)
    return x


def corners_matrix(before: int, after: int) -> np.ndarray:
    """[after before]: the weights of `resize_corners` along one axis; one new sample is the first old one."""
    at = np.arange(after) * (before - 1) / max(after - 1, 1)
    return triangle(np.arange(before) - at[:, None]).astype(np.float32)


def _stretched(x: Float[Array, "B h w D"], axis: int, after: int) -> Float[Array, "B H W D"]:
    before = x.shape[axis]
    if before == after:
        return x
    if after % before:
        matrix = jnp.asarray(resize_matrix(before, after, "bilinear"), x.dtype)
        return jnp.moveaxis(jnp.tensordot(matrix, x, (1, axis)), 0, axis)
    factor = after // before
    first, last = (jax.lax.slice_in_dim(x, at, at + 1, axis=axis) for at in (0, before - 1))
    near = jnp.concatenate([first, x, last], axis)  # samples outside repeat the nearest one inside
    left, right = (jax.lax.slice_in_dim(near, at, at + before, axis=axis) for at in (0, 2))
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5
        phases.append((1 - abs(offset)) * x + abs(offset) * (right if offset > 0 else left))
    return jnp.stack(phases, axis + 1).reshape(*x.shape[:axis], after, *x.shape[axis + 1 :])


@functools.cache
def resize_matrix(before: int, after: int, method: Method) -> np.ndarray:
    """[after before]: the weight of each old sample in each new one; each row adds up to 1."""
    kind, _, antialiased = method.partition("_")
    scale = before / after
    if kind == "nearest":
        return np.eye(before, dtype=np.float32)[np.arange(after) * before // after]
    # A wider kernel, when the table shrinks, is what antialiasing means.
    wide = max(scale, 1.0) if antialiased else 1.0
    kernel = functools.partial(cubic, a=-0.5 if antialiased else -0.75) if kind == "bicubic" else triangle
    centre = (np.arange(after) + 0.5) * scale - 0.5
    if antialiased:  # samples outside of the table do not exist
        weights = kernel((np.arange(before) - centre[:, None]) / wide)
        weights /= weights.sum(axis=1, keepdims=True)
        return weights.astype(np.float32)
    margin = 2  # samples outside repeat the nearest one inside
    near = np.arange(-margin, before + margin)
    weights = kernel(near - centre[:, None])
    return (weights @ np.eye(before)[np.clip(near, 0, before - 1)]).astype(np.float32)


def triangle(x: np.ndarray) -> np.ndarray:
    """1 - |x|, 0 from 1 on."""
    return np.maximum(1 - np.abs(x), 0)


def cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel, 0 from 2 on."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
