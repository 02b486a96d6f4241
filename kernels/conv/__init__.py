"""Convolutions over the neighbours of a token in its own segment; centred or causal, and streaming.

The two operations differ in their taps: in `depthwise` a tap has a weight for each channel, in `grouped` a matrix for
each group of channels. `neighbours` returns the neighbours themselves, for other operations on them.
`depthwise_grid` is `depthwise` over rows and columns.
"""

from types import ModuleType

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from . import naive, xla

__all__ = ["IMPLEMENTATIONS", "depthwise", "depthwise_grid", "grouped", "neighbours", "tail_after"]

IMPLEMENTATIONS = {"naive": naive, "xla": xla}


def depthwise(
    x: Float[Array, "B T *C"],
    kernel: Float[Array, "W ..."],
    *,
    bias: Float[Array, "*C"] | None = None,
    segments: Int[Array, "B T"] | None = None,
    before: int | None = None,
    tail: Float[Array, "B W-1 *C"] | None = None,
    tail_segment: Int[Array, "B"] | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T *C"]:
    """y_t = bias + sum_w kernel_w · x_{t - before + w}, summed over positions in t's own segment.

    y has the dtype of x; sums are float32 (float64 if x is).
    kernel: one tap for each w; a tap broadcasts against x, so it may be shared among channels, or differ from token to
    token (dynamic convolution).
    segments: ids, 0 for padding. Positions outside the row, in padding or in another segment count as zero, even if x
    is NaN there. None for a single segment.
    before: the distance from t back to the first tap. If None it is W // 2, which is centred for an odd W; W - 1 is
    causal.
    tail: for a causal convolution, the W - 1 positions before the row; with segments, zero where they are not in
    tail_segment [B], the segment that the row may continue (0 for none). `tail_after` returns the next tail.
    implementation: a name in IMPLEMENTATIONS; None for the best one.

    Raises ValueError for arguments that do not fit and NotImplementedError for an unknown implementation.
    """
    before = _checked("depthwise", x, kernel.shape[0], bias, x.shape[2:], segments, before, (tail, tail_segment))
    try:
        fits = jnp.broadcast_shapes(kernel.shape[1:], x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"depthwise: a tap has shape {kernel.shape[1:]}, which does not broadcast to x {x.shape}")
    run = _chosen("depthwise", implementation).depthwise
    return run(x, kernel, bias=bias, segments=segments, before=before, tail=tail, tail_segment=tail_segment)


def grouped(
    x: Float[Array, "B T C"],
    kernel: Float[Array, "W I O"],
    *,
    bias: Float[Array, "O"] | None = None,
    segments: Int[Array, "B T"] | None = None,
    before: int | None = None,
    tail: Float[Array, "B W-1 C"] | None = None,
    tail_segment: Int[Array, "B"] | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T O"]:
    """y_t = bias + sum_w x_{t - before + w} kernel_w, where each of the C / I groups of channels has its own matrices.

    Group g maps the channels g I to (g + 1) I - 1 to its share of the O outputs, in order. Other arguments, dtypes and
    errors as in `depthwise`.
    """
    if x.ndim != 3 or kernel.ndim != 3:
        raise ValueError(f"grouped: x {x.shape} has to be [B T C] and the kernel {kernel.shape} [W I O]")
    W, inside, O = kernel.shape
    before = _checked("grouped", x, W, bias, (O,), segments, before, (tail, tail_segment))
    if x.shape[2] % inside or O % (x.shape[2] // inside):
        raise ValueError(
            f"grouped: {x.shape[2]} channels cannot be divided into groups of {inside}, or {O} outputs among the groups"
        )
    run = _chosen("grouped", implementation).grouped
    return run(x, kernel, bias=bias, segments=segments, before=before, tail=tail, tail_segment=tail_segment)


def depthwise_grid(
    x: Float[Array, "B h w C"],
    kernel: Float[Array, "p q C"],
    *,
    bias: Float[Array, "C"] | None = None,
    segments: Int[Array, "B h w"] | None = None,
    implementation: str | None = None,
) -> Float[Array, "B h w C"]:
    """y[i, j] = bias + sum over (a, b) of kernel[a, b] · x[i + a - p // 2, j + b - q // 2], channel by channel.

    The sum is over positions in the segment of (i, j); those outside the grid count as zero. p and q are odd. Other
    arguments, dtypes and errors as in `depthwise`.
    """
    sides = kernel.shape[:2]
    if x.ndim != 4 or kernel.ndim != 3 or not all(side % 2 for side in sides) or kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"depthwise_grid: x {x.shape} has to be [B h w C] and the kernel {kernel.shape} [p q C], p and q being odd"
        )
    if segments is not None and segments.shape != x.shape[:3]:
        raise ValueError(
            f"depthwise_grid: segments has shape {segments.shape}; with x {x.shape} it has to be {x.shape[:3]}"
        )
    y = _chosen("depthwise_grid", implementation).depthwise_grid(x, kernel, segments=segments)
    return y if bias is None else y + bias.astype(y.dtype)


def neighbours(
    x: Float[Array, "B T *C"],
    width: int,
    *,
    segments: Int[Array, "B T"] | None = None,
    before: int | None = None,
) -> Float[Array, "B T W *C"]:
    """x_{t - before} to x_{t - before + width - 1} for each t; zeros in padding and outside t's segment.

    Arguments and errors as in `depthwise`.
    """
    before = _checked("neighbours", x, width, None, (), segments, before, (None, None))
    taps = xla.taps(x, width, segments=segments, before=before, tail=None, tail_segment=None)
    return jnp.stack(list(taps), axis=2)


def tail_after(
    x: Float[Array, "B T *C"],
    segments: Int[Array, "B T"],
    tail: Float[Array, "B W-1 *C"],
    tail_segment: Int[Array, "B"],
    last: Int[Array, "B"],
) -> Float[Array, "B W-1 *C"]:
    """The tail after a row: its last W - 1 positions, zero if they are not in segment `last`.

    x, segments: the row.  tail, tail_segment: those before it.
    """
    row, segments = xla.extended(x, segments, tail.shape[1], 0, tail, tail_segment)
    start = row.shape[1] - tail.shape[1]
    return jnp.where(xla.wide(segments[:, start:] == last[:, None], row), row[:, start:], 0).astype(tail.dtype)


def _chosen(what: str, implementation: str | None) -> ModuleType:
    name = "xla" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        legal = " or ".join(IMPLEMENTATIONS)
        raise NotImplementedError(f"{what}: implementation is {name!r}; it must be None or {legal}")
    return IMPLEMENTATIONS[name]


def _checked(what, x, width, bias, channels, segments, before, tail) -> int:
    """`before` as a number. Raises ValueError, with one sentence, for arguments that do not fit."""
    if x.ndim < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{what}: x is {x.dtype} {x.shape}; it must be [B T ...] of a floating dtype")
    B, T = x.shape[:2]
    before = width // 2 if before is None else before
    if width < 1 or not 0 <= before < width:
        raise ValueError(f"{what}: before is {before}; with {width} taps it must be from 0 to {width - 1}")
    if tail[0] is not None and before != width - 1:
        raise ValueError(f"{what}: before is {before}; a tail needs a causal convolution, with before={width - 1}")
    if tail[0] is not None and segments is not None and tail[1] is None:
        raise ValueError(f"{what}: with segments a tail needs tail_segment, the segment of each row's tail")
    if tail[1] is not None and (tail[0] is None or segments is None):
        raise ValueError(f"{what}: tail_segment is the segment of a tail; it needs a tail and segments")
    expected = {
        "bias": (bias, channels),
        "segments": (segments, (B, T)),
        "tail": (tail[0], (B, width - 1, *x.shape[2:])),
        "tail_segment": (tail[1], (B,)),
    }
    for name, (value, shape) in expected.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"{what}: {name} has shape {value.shape}; with x {x.shape} it has to be {shape}")
    if segments is not None and not jnp.issubdtype(segments.dtype, jnp.integer):
        raise ValueError(f"{what}: segments is {segments.dtype}; it must be of an integer dtype")
    return before
