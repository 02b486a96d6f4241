"""The delta rule, with or without decay: a linear memory that replaces what it holds for a key by a new value.

Schlag, Irie, Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers" (2021), section 4.2; in chunks:
Yang, Wang, Zhang, Shen, Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (2024); with
decay: Yang, Kautz, Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule" (2024). `delta` is the
operation on a row of tokens, and `step` on a single token.
"""

from jaxtyping import Array, Float, Int

from ..checks import Checks, chosen
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
    run = chosen("delta", implementation, IMPLEMENTATIONS, chunk)
    return run(q, k, v, beta, log_decay=log_decay, segments=segments, state=state, scale=scale, chunk=chunk)


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
    checks = Checks("delta", ("v", v), ("k", k))
    B, T, N, H, G, M = checks.sizes
    checks.shapes(
        {
            "q": (q, (B, T, G, M)),
            "k": (k, (B, T, G, M)),
            "beta": (beta, (B, T, N)),
            "log_decay": (log_decay, (B, T, N)),
            "segments": (segments, (B, T)),
            "state": (state, (B, N, H, M)),
        }
    )
    checks.dtypes(segments, q=q, k=k, v=v, beta=beta, log_decay=log_decay)
