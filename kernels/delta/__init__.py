"""The delta rule, with or without decay: a linear memory that replaces what it holds for a key by a new value.

Schlag, Irie, Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers" (2021), section 4.2; in chunks:
Yang, Wang, Zhang, Shen, Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (2024); with
decay: Yang, Kautz, Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule" (2024). `delta` is the
operation on a row of tokens, and `step` on a single token.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .naive import naive
from .xla import xla

IMPLEMENTATIONS = {"naive": naive, "xla": xla}


def delta(
    q: Float[Array, "B T G M"],
    k: Float[Array, "B T G M"],
    v: Float[Array, "B T N H"],
    beta: Float[Array, "B T N"],
    *,
    log_decay: Float[Array, "B T N"] | None = None,
    segments: Int[Array, "B T"] | None = None,
    state: Float[Array, "B N H M"] | None = None,
    scale: float | None = None,
    chunk: int = 64,
    implementation: str | None = None,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N H M"]]:
    """y and the last S of S_t = a_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T, y_t = scale S_t q_t.

    y has the dtype of v. S is float32, and so are beta and the decay in the computation (float64 if v is).

    q, k: queries and keys of G groups, each of which serves N / G heads, in order. The recurrence contracts where
    beta |k|^2 is from 0 to 2; keys are therefore to be of unit norm, or shorter.
    v: the values that are written.  beta: how much of what S holds for k is replaced: 0 none, 1 all; up to 2.
    log_decay: log a, at most 0; -inf forgets all that is older. None for a = 1.
    segments: ids; S is zero before the first token of a segment. Segment 0 is padding: y is 0 there, S does not change,
    and the values of its tokens (NaN included) have no effect. None for a single segment.
    state: S before the first token, which the first segment continues; None for zero.
    scale: the factor of y; M^-0.5 if None.
    chunk: the largest number C of tokens that a chunked implementation processes at once. It changes memory and time,
    but not the result.
    implementation: a name in IMPLEMENTATIONS; None for the best for platform and arguments.

    Raises ValueError for shapes that do not fit, and NotImplementedError for an unknown implementation.
    """
    _check(q, k, v, beta, log_decay, segments, state)
    if not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"delta: chunk is {chunk!r}; it must be a whole number of at least 1.")
    name = "xla" if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise NotImplementedError(
            f"delta: implementation is {name!r}; it must be None or one of {', '.join(IMPLEMENTATIONS)}."
        )
    given = dict(log_decay=log_decay, segments=segments, state=state, scale=scale)
    return IMPLEMENTATIONS[name](q, k, v, beta, **given, chunk=chunk)


def step(
    q: Float[Array, "B G M"],
    k: Float[Array, "B G M"],
    v: Float[Array, "B N H"],
    beta: Float[Array, "B N"],
    *,
    state: Float[Array, "B N H M"],
    log_decay: Float[Array, "B N"] | None = None,
    segments: Int[Array, "B"] | None = None,
    scale: float | None = None,
) -> tuple[Float[Array, "B N H"], Float[Array, "B N H M"]]:
    """One step of `delta`: y of one token, and the state after it; a token of segment 0 does not change the state.

    Arguments as in `delta`, without the axis T. Raises ValueError for shapes that do not fit.
    """
    of_row = [a[:, None] if a is not None else None for a in (q, k, v, beta, log_decay, segments)]
    q, k, v, beta, log_decay, segments = of_row
    _check(q, k, v, beta, log_decay, segments, state)
    y, state = naive(q, k, v, beta, log_decay=log_decay, segments=segments, state=state, scale=scale)
    return y[:, 0], state


def _check(q, k, v, beta, log_decay, segments, state):
    """Raises ValueError, with one sentence, for shapes that do not fit v [B T N H] and k [B T G M]."""
    if jnp.ndim(v) != 4 or jnp.ndim(k) != 4:
        raise ValueError(f"delta: v {jnp.shape(v)} must be [B T N H] and k {jnp.shape(k)} must be [B T G M].")
    (B, T, N, H), (G, M) = v.shape, k.shape[2:]
    if min(B, T, N, H, G, M) < 1 or N % G:
        raise ValueError(
            f"delta: v {v.shape} has N = {N} heads and k {k.shape} G = {G} groups; "
            "no axis may be empty, and G must divide N."
        )
    expected = {
        "q": (q, (B, T, G, M)),
        "k": (k, (B, T, G, M)),
        "beta": (beta, (B, T, N)),
        "log_decay": (log_decay, (B, T, N)),
        "segments": (segments, (B, T)),
        "state": (state, (B, N, H, M)),
    }
    for name, (value, shape) in expected.items():
        if value is not None and jnp.shape(value) != shape:
            raise ValueError(
                f"delta: {name} has shape {jnp.shape(value)}; with v {v.shape} and k {k.shape} it must be {shape}."
            )
    for name, value in {"q": q, "k": k, "v": v, "beta": beta, "log_decay": log_decay}.items():
        if value is not None and not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(f"delta: {name} is {value.dtype}; it must be of a floating dtype.")
    if segments is not None and not jnp.issubdtype(segments.dtype, jnp.integer):
        raise ValueError(f"delta: segments is {segments.dtype}; it must be of an integer dtype.")
