"""Attention of queries over keys and values: packed, masked and biased by description, any length."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..platform import platform
from .bias import Bias, Buckets, Dense, Slopes
from .dropout import Dropout
from .mask import Mask
from .naive import naive
from .xla import xla

__all__ = ["IMPLEMENTATIONS", "Bias", "Buckets", "Dense", "Dropout", "Mask", "Slopes", "attention"]

Segments = Int[Array, "B T"] | tuple[Int[Array, "B T"], Int[Array, "B S"]]


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    segments: Segments | None = None,
    mask: Mask = Mask.full(),  # noqa: B008 (frozen)
    bias: Bias | None = None,
    scale: float | None = None,
    dropout: Dropout | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T N H"]:
    """softmax(scale · q kᵀ + bias) v within segments, in q's dtype, scores and sums in float32.

    N query heads share K heads of keys and values, N a multiple of K. segments: one array for queries and keys, or a
    pair; 0 is padding, which sees nothing, is seen by nobody and gives zeros. scale: 1 / sqrt(H) if None.
    implementation: a name of IMPLEMENTATIONS, or None for the best that honours the arguments on this platform.

    Raises ValueError for shapes that do not fit, and for an implementation that does not exist.
    """
    segments = _checked(q, k, v, segments, mask, bias)
    if implementation not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attention has no implementation {implementation!r}; it has {', '.join(IMPLEMENTATIONS)}")
    run = IMPLEMENTATIONS[implementation or "xla"]
    if run is naive and segments is None:
        segments = tuple(jnp.ones(a.shape[:2], jnp.int32) for a in (q, k))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return run(q, k, v, segments=segments, mask=mask, bias=bias, scale=scale, dropout=dropout)


def _checked(q, k, v, segments, mask, bias):
    """The segments as a pair or None; ValueError for what does not fit."""
    for name, a in (("q", q), ("k", k), ("v", v)):
        if a.ndim != 4:
            raise ValueError(f"attention takes {name} of shape [batch, length, heads, width], not {a.shape}")
    (B, T, N, H), (_, S, K, _) = q.shape, k.shape
    if k.shape != v.shape:
        raise ValueError(f"attention takes k and v of one shape, not {k.shape} and {v.shape}")
    if k.shape[0] != B or k.shape[3] != H:
        raise ValueError(f"attention takes q and k of one batch and width, not {q.shape} and {k.shape}")
    if N % K:
        raise ValueError(f"attention takes query heads that are a multiple of the key heads, not {N} and {K}")
    if q.dtype == jnp.float64 and platform() != "cpu":
        raise ValueError("attention computes in float32 or less on an accelerator; q is float64")
    if mask.prefix is not None and mask.prefix.shape != (B, S):
        raise ValueError(f"mask.prefix has shape {mask.prefix.shape}; keys need ({B}, {S})")
    if min(mask.before or 0, mask.after or 0) < 0:
        raise ValueError(f"a window reaches 0 or more tokens, not before={mask.before}, after={mask.after}")
    heads = {Slopes: lambda: bias.slopes.shape[0], Buckets: lambda: bias.table.shape[1]}.get(type(bias))
    if heads is not None and heads() != N:
        raise ValueError(f"the bias is of {heads()} heads, the queries of {N}")
    if isinstance(bias, Dense) and any(
        has not in (1, want) for has, want in zip(bias.values.shape, (B, N, T, S), strict=True)
    ):
        raise ValueError(f"a dense bias of shape {bias.values.shape} does not fit scores of ({B}, {N}, {T}, {S})")
    if segments is None:
        return None
    pair = segments if isinstance(segments, tuple) else (segments, segments)
    for name, has, want in zip(("queries", "keys"), pair, ((B, T), (B, S)), strict=True):
        if has.shape != want:
            raise ValueError(f"the segments of the {name} have shape {has.shape}; {want} is needed")
    return pair


# Every name that `implementation` may take. Pallas kernels for TPU and Hopper join here.
IMPLEMENTATIONS = {"naive": naive, "xla": xla}
