"""State-space duality (SSD): the recurrence of Mamba-2, with segments and state, in time linear in the length.

Dao, Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State Space Duality"
(2024). `ssd` is the operation on a row of tokens, and `step` on a single token.
"""

from jaxtyping import Array, Float, Int

from ..checks import Checks, chosen
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
    run = chosen("ssd", implementation, IMPLEMENTATIONS, chunk)
    return run(x, dt, a, b, c, d=d, segments=segments, state=state, chunk=chunk)


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
    checks = Checks("ssd", ("x", x), ("b", b))
    B, T, N, H, G, M = checks.sizes
    checks.shapes(
        {
            "dt": (dt, (B, T, N)),
            "a": (a, (N,)),
            "b": (b, (B, T, G, M)),
            "c": (c, (B, T, G, M)),
            "d": (d, (N,)),
            "segments": (segments, (B, T)),
            "state": (state, (B, N, H, M)),
        }
    )
    checks.dtypes(segments, x=x, dt=dt, a=a, b=b, c=c)
