"""State-space duality (SSD): the recurrence of Mamba-2, with segments and state, in time linear in the length.

Dao, Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality"
(2024). `ssd` is the operation on a row of tokens, and `step` on a single token.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .naive import naive
from .xla import xla

IMPLEMENTATIONS = {"naive": naive, "xla": xla}


def ssd(
    x: Float[Array, "B T N H"],
    dt: Float[Array, "B T N"],
    a: Float[Array, "N"],
    b: Float[Array, "B T G M"],
    c: Float[Array, "B T G M"],
    *,
    d: Float[Array, "N"] | None = None,
    segments: Int[Array, "B T"] | None = None,
    state: Float[Array, "B N H M"] | None = None,
    chunk: int = 256,
    implementation: str | None = None,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N H M"]]:
    """y and the last h of the recurrence h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t^T, y_t = h_t c_t + d x_t.

    y has the dtype of x. h is float32, and so are dt and a in the computation (float64 if x is).

    dt: step sizes, positive (after softplus).  a: decay rates, negative.
    b, c: input and output vectors of G groups, each of which serves N / G heads, in order.
    d: weight of a skip connection from x to y; None for none.
    segments: ids; the state is zero before the first token of a segment. Segment 0 is padding: y is 0 there, the state
    does not change, and the values of its tokens (NaN included) have no effect. None for a single segment.
    state: h before the first token, which the first segment continues; None for zero.
    chunk: the largest number C of tokens that a chunked implementation processes at once. It changes memory and time,
    but not the result. In a chunk each head computes C x C pairs of tokens, so memory and time per token grow with C,
    but large matrices suit matrix units. 256 is the best on TPU; on a CPU 64 is two times faster in training.
    implementation: a name in IMPLEMENTATIONS; None for the best for platform and arguments.

    Raises ValueError for shapes that do not fit, and NotImplementedError for an unknown implementation.
    """
    _check(x, dt, a, b, c, d, segments, state)
    if not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"ssd: chunk is {chunk!r}; it must be a whole number of at least 1.")
    name = "xla" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise NotImplementedError(
            f"ssd: implementation is {name!r}; it must be None or one of {', '.join(IMPLEMENTATIONS)}."
        )
    return IMPLEMENTATIONS[name](x, dt, a, b, c, d=d, segments=segments, state=state, chunk=chunk)


def step(
    x: Float[Array, "B N H"],
    dt: Float[Array, "B N"],
    a: Float[Array, "N"],
    b: Float[Array, "B G M"],
    c: Float[Array, "B G M"],
    *,
    state: Float[Array, "B N H M"],
    d: Float[Array, "N"] | None = None,
    segments: Int[Array, "B"] | None = None,
) -> tuple[Float[Array, "B N H"], Float[Array, "B N H M"]]:
    """One step of `ssd`: y of one token, and the state after it; a token of segment 0 does not change the state.

    Arguments as in `ssd`, without the axis T. Raises ValueError for shapes that do not fit.
    """
    of_row = [v[:, None] if v is not None else None for v in (x, dt, b, c, segments)]
    x, dt, b, c, segments = of_row
    _check(x, dt, a, b, c, d, segments, state)
    y, state = naive(x, dt, a, b, c, d=d, segments=segments, state=state)
    return y[:, 0], state


def _check(x, dt, a, b, c, d, segments, state):
    """Raises ValueError, with one sentence, for shapes that do not fit x [B T N H] and b [B T G M]."""
    if jnp.ndim(x) != 4 or jnp.ndim(b) != 4:
        raise ValueError(f"ssd: x {jnp.shape(x)} must be [B T N H] and b {jnp.shape(b)} must be [B T G M].")
    (B, T, N, H), (G, M) = x.shape, b.shape[2:]
    if min(B, T, N, H, G, M) < 1 or N % G:
        raise ValueError(
            f"ssd: x {x.shape} has N = {N} heads and b {b.shape} G = {G} groups; "
            "no axis may be empty, and G must divide N."
        )
    expected = {
        "dt": (dt, (B, T, N)),
        "a": (a, (N,)),
        "b": (b, (B, T, G, M)),
        "c": (c, (B, T, G, M)),
        "d": (d, (N,)),
        "segments": (segments, (B, T)),
        "state": (state, (B, N, H, M)),
    }
    for name, (value, shape) in expected.items():
        if value is not None and jnp.shape(value) != shape:
            raise ValueError(
                f"ssd: {name} has shape {jnp.shape(value)}; with x {x.shape} and b {b.shape} it must be {shape}."
            )
    for name, value in {"x": x, "dt": dt, "a": a, "b": b, "c": c}.items():
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"ssd: {name} is {value.dtype}; it must be of a floating dtype.")
    if segments is not None and not jnp.issubdtype(segments.dtype, jnp.integer):
        raise ValueError(f"ssd: segments is {segments.dtype}; it must be of an integer dtype.")
