"""Convolutions as sums of shifted rows, which XLA fuses into one pass if taps are element-wise."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..counting import stated
from ..platform import platform, product

# With at most so many taps each shifted row is converted to float32 by itself, which moves fewer bytes. With more, the
# sum of the taps' gradients would lose precision, so the row is converted as a whole.
FEW = 8


def depthwise(x, kernel, *, bias, segments, before, tail, tail_segment):
    """`depthwise` of the package, for checked arguments."""
    sums = jnp.promote_types(x.dtype, jnp.float32)
    y = jnp.broadcast_to(jnp.zeros((), sums) if bias is None else bias.astype(sums), x.shape)
    W = kernel.shape[0]
    row = x if W <= FEW else x.astype(sums)
    for w, near in enumerate(taps(row, W, segments, before, tail, tail_segment)):
        y += kernel[w].astype(sums) * near.astype(sums)
    return y.astype(x.dtype)


def grouped(x, kernel, *, bias, segments, before, tail, tail_segment):
    """`grouped` of the package, for checked arguments; the operands of products have x's dtype."""
    sums, (W, inside, O) = jnp.promote_types(x.dtype, jnp.float32), kernel.shape
    groups = x.shape[2] // inside
    y = jnp.broadcast_to(jnp.zeros((), sums) if bias is None else bias.astype(sums), (*x.shape[:2], O))
    kernel = kernel.reshape(W, inside, groups, O // groups).astype(x.dtype)
    for w, near in enumerate(taps(x, W, segments, before, tail, tail_segment)):
        near = near.reshape(*x.shape[:2], groups, inside)
        y += product("btgi,igo->btgo", near, kernel[w], sums).reshape(y.shape)
    return y.astype(x.dtype)


def depthwise_grid(x, kernel, *, segments):
    """`depthwise_grid` of the package, for checked arguments and without a bias.

    XLA's convolution is used where there are no segments. On a CPU the gradient of one by channels takes about five
    times as long as that of the sum of shifted grids (3 x 3 and 7 x 7, 32 to 128 channels), and that of the sum with
    respect to the kernel another three to six times as long as the loop of `kernel_gradient`.
    """
    (p, q), C = kernel.shape[:2], x.shape[3]
    if platform() == "cpu":
        return stated(_shifted_sum_on_cpu(x, kernel, segments), 2 * p * q)
    if segments is None:
        around = [(p // 2, p // 2), (q // 2, q // 2)]
        layout = ("NHWC", "HWIO", "NHWC")
        kernel = kernel.astype(x.dtype)[:, :, None]
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=layout, feature_group_count=C)
    return stated(shifted_sum(x, kernel, segments), 2 * p * q)


def shifted_sum(x, kernel, segments):
    """`depthwise_grid` as the sum of the shifted grids, each times its tap."""
    (p, q), sums = kernel.shape[:2], jnp.promote_types(x.dtype, jnp.float32)
    grid = x.astype(sums) if p * q > FEW else x
    y = jnp.zeros(x.shape, sums)
    for i, near in enumerate(shifted(grid, (p, q), segments)):
        y += kernel[i // q, i % q].astype(sums) * near.astype(sums)
    return y.astype(x.dtype)


def kernel_gradient(x, dy, size, segments) -> Array:
    """The gradient [p q C] of sum(dy · shifted_sum(x, kernel)) with respect to the kernel, in float32 or float64.

    A loop over the positions of the grid adds up all taps of one position, [B p q C] numbers that stay in the cache.
    XLA's own sum over a leading axis reads memory in strides on a CPU.
    """
    (p, q), (B, h, w, C) = size, x.shape
    sums, around = jnp.promote_types(x.dtype, jnp.float32), ((0, 0), (p // 2, p // 2), (q // 2, q // 2))
    if segments is not None:
        x = jnp.where(segments[..., None] > 0, x, 0)
        owner = jnp.pad(segments, around)
    x = jnp.pad(x, (*around, (0, 0)))

    def add(i, total):
        row, column = i // w, i % w
        near = jax.lax.dynamic_slice(x, (0, row, column, 0), (B, p, q, C)).astype(sums)
        here = jax.lax.dynamic_slice(dy, (0, row, column, 0), (B, 1, 1, C)).astype(sums)
        if segments is not None:
            own = jax.lax.dynamic_slice(owner, (0, row, column), (B, p, q)) == segments[:, row, column, None, None]
            near = jnp.where(own[..., None], near, 0)
        return total + near * here

    return jax.lax.fori_loop(0, h * w, add, jnp.zeros((B, p, q, C), sums)).sum(0)


@jax.custom_vjp
def _shifted_sum_on_cpu(x, kernel, segments):
    return shifted_sum(x, kernel, segments)


def _forward(x, kernel, segments):
    return shifted_sum(x, kernel, segments), (x, kernel, segments)


def _backward(kept, dy):
    x, kernel, segments = kept
    (dx,) = jax.vjp(lambda x: shifted_sum(x, kernel, segments), x)[1](dy)
    return dx, kernel_gradient(x, dy, kernel.shape[:2], segments).astype(kernel.dtype), None


_shifted_sum_on_cpu.defvjp(_forward, _backward)


def shifted(x, size, segments) -> Iterator[Array]:
    """For each (a, b) the grid of x[i + a - p // 2, j + b - q // 2], in reading order; zero in another segment."""
    (p, q), (h, w) = size, x.shape[1:3]
    around = ((0, 0), (p // 2, p // 2), (q // 2, q // 2))
    if segments is not None:
        x = jnp.where(segments[..., None] > 0, x, 0)
        owner = jnp.pad(segments, around)
    x = jnp.pad(x, (*around, (0, 0)))
    for a in range(p):
        for b in range(q):
            near = x[:, a : a + h, b : b + w]
            if segments is not None:
                near = jnp.where((owner[:, a : a + h, b : b + w] == segments)[..., None], near, 0)
            yield near


def taps(x, width, segments, before, tail, tail_segment) -> Iterator[Array]:
    """For each w the row [B T ...] of x_{t - before + w}, zero where that is not in t's segment."""
    T = x.shape[1]
    row, owner = extended(x, segments, before, width - 1 - before, tail, tail_segment)
    for w in range(width):
        near = row[:, w : w + T]
        if owner is not None and w != before:  # at w = before it is the token itself; padding is already zero
            near = jnp.where(wide(owner[:, w : w + T] == segments, x), near, 0)
        yield near


def extended(x, segments, before, after, tail, tail_segment) -> tuple[Array, Array | None]:
    """x and segments, extended by `before` positions in front (the tail, or empty) and `after` empty ones at the end.

    x is zero in padding and at empty positions.
    """
    rest = [(0, 0)] * (x.ndim - 2)
    if segments is not None:
        x = jnp.where(wide(segments > 0, x), x, 0)
        front = before
        if tail is not None:
            tail = jnp.where(wide(tail_segment[:, None] > 0, tail), tail, 0)
            held = jnp.broadcast_to(tail_segment[:, None], (x.shape[0], before)).astype(segments.dtype)
            segments, front = jnp.concatenate([held, segments], axis=1), 0
        segments = jnp.pad(segments, ((0, 0), (front, after)))
    if tail is None:
        return jnp.pad(x, ((0, 0), (before, after), *rest)), segments
    return jnp.pad(jnp.concatenate([tail.astype(x.dtype), x], axis=1), ((0, 0), (0, after), *rest)), segments


def wide(mask: Array, x: Array) -> Array:
    """A mask [B T] with axes of size 1 appended, so that it broadcasts against x [B T ...]."""
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
