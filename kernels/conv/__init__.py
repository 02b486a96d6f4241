"""Convolutions over the neighbours of a token that are of its own segment: packed, centred or causal, streaming.

Two operations differ in what a tap is: `depthwise` weighs each channel, `grouped` maps groups of channels. `neighbours`
is what both read, for those who do something else with it.
"""

from types import ModuleType

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from . import naive, xla

__all__ = ["IMPLEMENTATIONS", "depthwise", "grouped", "neighbours", "tail_after"]

IMPLEMENTATIONS = {"naive": naive, "xla": xla}


def depthwise(
    x: Float[Array, "B T *C"],
    kernel: Float[Array, "W *weights"],
    *,
    bias: Float[Array, "*C"] | None = None,
    segments: Int[Array, "B T"] | None = None,
    before: int | None = None,
    tail: Float[Array, "B W-1 *C"] | None = None,
    tail_segment: Int[Array, "B"] | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T *C"]:
    """y_t = bias + sum_w kernel_w · x_{t - before + w} over the positions of t's own segment, in x's dtype.

    kernel: one tap per w; each broadcasts against x, so that taps may be shared among channels or differ from token to
    token (dynamic convolution). Sums are float32 (float64 where x is).
    segments: ids, 0 being padding. What is outside the row, padding or of another segment counts as zero, whatever it
    holds (NaN included). None: one segment.
    before: how many positions before t the first tap reaches, W // 2 if None, which is centred for an odd W; W - 1 is
    causal.
    tail: the W - 1 positions before the row, with zeros where they are not of tail_segment [B], the segment that the
    row may continue (0: none); only for a causal convolution. `tail_after` gives the next one.
    implementation: a name in IMPLEMENTATIONS; None is the best one.

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
    """y_t = bias + sum_w x_{t - before + w} kernel_w, where each of C / I groups of channels has a map of its own.

    Group g reads channels g I to (g + 1) I and writes as many of the O outputs as each group has, in order. Other
    arguments and errors as of `depthwise`; sums are float32 (float64 where x is), y is of x's dtype.
    """
    if x.ndim != 3 or kernel.ndim != 3:
        raise ValueError(f"grouped: x {x.shape} has to be [B T C] and the kernel {kernel.shape} [W I O]")
    W, inside, O = kernel.shape
    before = _checked("grouped", x, W, bias, (O,), segments, before, (tail, tail_segment))
    if x.shape[2] % inside or O % (x.shape[2] // inside):
        raise ValueError(
            f"grouped: {x.shape[2]} channels do not divide into groups of {inside}, or {O} outputs among the groups"
        )
    run = _chosen("grouped", implementation).grouped
    return run(x, kernel, bias=bias, segments=segments, before=before, tail=tail, tail_segment=tail_segment)


def neighbours(
    x: Float[Array, "B T *C"],
    width: int,
    *,
    segments: Int[Array, "B T"] | None = None,
    before: int | None = None,
) -> Float[Array, "B T W *C"]:
    """x_{t - before} to x_{t - before + width - 1} for each t; zeros for what is not of t's segment, and for padding.

    Arguments and errors as of `depthwise`.
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
    """The tail after the row: its last W - 1 positions, zero where they are not of segment `last`."""
    row, segments = xla.extended(x, segments, tail.shape[1], 0, tail, tail_segment)
    start = row.shape[1] - tail.shape[1]
    return jnp.where(xla.wide(segments[:, start:] == last[:, None], row), row[:, start:], 0).astype(tail.dtype)


def _chosen(what: str, implementation: str | None) -> ModuleType:
    name = "xla" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise NotImplementedError(f"{what}: implementation is {name!r}; it is None or {' or '.join(IMPLEMENTATIONS)}")
    return IMPLEMENTATIONS[name]


def _checked(what, x, width, bias, channels, segments, before, tail) -> int:
    """`before` as a number; ValueError, in one sentence, for arguments that do not fit."""
    if x.ndim < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"{what}: x is an array [B T ...] of a floating dtype, not {x.shape} of {x.dtype}")
    B, T = x.shape[:2]
    before = width // 2 if before is None else before
    if width < 1 or not 0 <= before < width:
        raise ValueError(f"{what}: of {width} taps 0 to {width - 1} reach before the token, not {before}")
    if tail[0] is not None and before != width - 1:
        raise ValueError(f"{what}: only a causal convolution has a tail, with before={width - 1}, not {before}")
    if tail[0] is not None and segments is not None and tail[1] is None:
        raise ValueError(f"{what}: beside segments a tail needs tail_segment, the segment of each row's tail")
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
        raise ValueError(f"{what}: segments is of an integer dtype, not {segments.dtype}")
    return before
