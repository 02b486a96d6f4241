"""State-space dual (SSD): the recurrence of Mamba-2, linear in length, with segments and state.

Dao, Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured
State Space Duality" (2024). `ssd` is the operation over a row of tokens, `step` the same for one
token.
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
    """h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t^T and y_t = h_t c_t + d x_t; gives y and the last h.

    y is of the dtype of x; h is float32, as are dt and a inside (float64 where x is).

    dt: step sizes, positive (after softplus).  a: decay rates, negative.  b, c: input and output
    maps of G groups, each serving N / G heads in order.  d: weight of the skip from x to y, none if
    None.
    segments: the state starts from zero at the first token of a segment. Segment 0 is padding: it
    gives y = 0, the state passes over it unchanged, and what its values hold (NaN included) reaches
    nobody. None: one segment.
    state: h before the first token, which the first segment continues; zero if None.
    chunk: the most tokens that a chunked form takes at once. It moves memory and time, never the
    result: within it every head weighs C x C pairs of tokens, so time per token and memory grow
    with it, while few large chunks suit matrix units. 256 is the best on TPU; on a CPU 64 is two
    times faster in training.
    implementation: a name in IMPLEMENTATIONS; None picks the best for platform and arguments.

    Raises ValueError for shapes that do not fit and NotImplementedError for an unknown
    implementation.
    """
    _check(x, dt, a, b, c, d, segments, state)
    if not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"ssd: chunk is {chunk!r}; it has to be a whole number of at least 1.")
    name = "xla" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise NotImplementedError(
            f"ssd: implementation is {name!r}; it has to be None or one of {', '.join(IMPLEMENTATIONS)}."
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
    """One token of `ssd`: its y and the state after it; a token of segment 0 changes nothing.

    Arguments as of `ssd` without the T axis. Raises ValueError for shapes that do not fit.
    """
    of_row = [v[:, None] if v is not None else None for v in (x, dt, b, c, segments)]
    x, dt, b, c, segments = of_row
    _check(x, dt, a, b, c, d, segments, state)
    y, state = naive(x, dt, a, b, c, d=d, segments=segments, state=state)
    return y[:, 0], state


def _check(x, dt, a, b, c, d, segments, state):
    """Refuse shapes that do not fit x [B T N H] and b [B T G M], in one sentence."""
    if jnp.ndim(x) != 4 or jnp.ndim(b) != 4:
        raise ValueError(f"ssd: x {jnp.shape(x)} has to be [B T N H] and b {jnp.shape(b)} has to be [B T G M].")
    (B, T, N, H), (G, M) = x.shape, b.shape[2:]
    if min(B, T, N, H, G, M) < 1 or N % G:
        raise ValueError(
            f"ssd: x {x.shape} has N = {N} heads and b {b.shape} G = {G} groups; "
            "no axis may be empty and G has to divide N."
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
                f"ssd: {name} has shape {jnp.shape(value)}; with x {x.shape} and b {b.shape} it has to be {shape}."
            )
    for name, value in {"x": x, "dt": dt, "a": a, "b": b, "c": c}.items():
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"ssd: {name} is {value.dtype}; it has to be of a floating dtype.")
    if segments is not None and not jnp.issubdtype(segments.dtype, jnp.integer):
        raise ValueError(f"ssd: segments is {segments.dtype}; it has to be of an integer dtype.")
