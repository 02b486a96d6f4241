"""Gated linear attention: a linear memory whose contents decay, with segments and state, in time linear in the length.

The kinds of decay are those of linear attention (none; Katharopoulos et al., "Transformers are RNNs", 2020), RetNet
and lightning attention (a constant of each head; Sun et al., "Retentive Network", 2023; Qin et al., "Lightning
Attention-2", 2024), Mamba-2 (one number for each head and token; Dao, Gu, "Transformers are SSMs", 2024) and GLA (one
for each channel of the keys; Yang et al., "Gated Linear Attention Transformers with Hardware-Efficient Training",
2023). `gla` is the operation on a row of tokens, and `step` on a single token.
"""

from jaxtyping import Array, Float, Int

from ..checks import Checks, chosen
from .naive import naive
from .xla import xla

IMPLEMENTATIONS = {"naive": naive, "xla": xla}


def gla(
    q: Float[Array, "B T G M"],
    k: Float[Array, "B T G M"],
    v: Float[Array, "B T N H"],
    log_decay: Float[Array, "N"] | Float[Array, "B T N"] | Float[Array, "B T N M"] | None = None,
    *,
    scale: float | None = None,
    segments: Int[Array, "B T"] | None = None,
    state: Float[Array, "B N H M"] | None = None,
    chunk: int = 64,
    implementation: str | None = None,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B N H M"]]:
    """y and the last S of the recurrence S_t = S_{t-1} diag(a_t) + v_t k_t^T, y_t = scale S_t q_t.

    y has the dtype of v. S is float32, and so are decays in the computation (float64 if v is).

    q, k: queries and keys of G groups, each of which serves N / G heads, in order.
    log_decay: log a, at most 0; -inf forgets all that is older. Its shape says what decays alike: [N] is a constant of
    each head, [B T N] one number for each head and token, [B T N M] one for each channel of the keys; None for a = 1.
    scale: the factor of y; M^-0.5 if None.
    segments: ids; S is zero before the first token of a segment. Segment 0 is padding: y is 0 there, S does not change,
    and the values of its tokens (NaN included) have no effect. None for a single segment.
    state: S before the first token, which the first segment continues; None for zero.
    chunk: the largest number C of tokens that a chunked implementation processes at once, rounded down to a power of
    two for decays of channels. It changes memory and time, but not the result.
    implementation: a name in IMPLEMENTATIONS; None for the best for platform and arguments.

    Raises ValueError for shapes that do not fit, and NotImplementedError for an unknown implementation.
    """
    _check(q, k, v, log_decay, segments, state)
    run = chosen("gla", implementation, IMPLEMENTATIONS, chunk)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return run(q, k, v, log_decay, scale=scale, segments=segments, state=state, chunk=chunk)


def step(
    q: Float[Array, "B G M"],
    k: Float[Array, "B G M"],
    v: Float[Array, "B N H"],
    log_decay: Float[Array, "N"] | Float[Array, "B N"] | Float[Array, "B N M"] | None = None,
    *,
    state: Float[Array, "B N H M"],
    scale: float | None = None,
    segments: Int[Array, "B"] | None = None,
) -> tuple[Float[Array, "B N H"], Float[Array, "B N H M"]]:
    """One step of `gla`: y of one token, and the state after it; a token of segment 0 does not change the state.

    Arguments as in `gla`, without the axis T. Raises ValueError for shapes that do not fit.
    """
    q, k, v, segments = (array[:, None] if array is not None else None for array in (q, k, v, segments))
    if log_decay is not None and log_decay.ndim > 1:
        log_decay = log_decay[:, None]
    _check(q, k, v, log_decay, segments, state)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    y, state = naive(q, k, v, log_decay, scale=scale, segments=segments, state=state)
    return y[:, 0], state


def _check(q, k, v, log_decay, segments, state):
    """Raises ValueError, with one sentence, for shapes that do not fit q [B T G M] and v [B T N H]."""
    checks = Checks("gla", ("v", v), ("q", q))
    B, T, N, H, G, M = checks.sizes
    checks.shapes(
        {
            "q": (q, (B, T, G, M)),
            "k": (k, (B, T, G, M)),
            "log_decay": (log_decay, (N,), (B, T, N), (B, T, N, M)),
            "segments": (segments, (B, T)),
            "state": (state, (B, N, H, M)),
        }
    )
    checks.dtypes(segments, q=q, k=k, v=v, log_decay=log_decay)
