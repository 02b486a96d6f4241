"""Attention of queries over keys and values, packed, masked and biased by descriptions, for any length."""

import dataclasses
import importlib
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..counting import stated
from ..platform import platform
from . import decode
from .bias import Bias, Buckets, Dense, GridDecay, GridTable, Relative, Slopes
from .bias import check as check_bias
from .dropout import Dropout
from .mask import Mask, Pattern
from .naive import naive
from .reach import keys_of_a_query
from .softmax import Sigmoid, Softmax, described, with_sink, without_temperature
from .xla import gathers, xla

__all__ = [
    "IMPLEMENTATIONS",
    "Bias",
    "Buckets",
    "Dense",
    "Dropout",
    "GridDecay",
    "GridTable",
    "Implementation",
    "Mask",
    "Pattern",
    "Relative",
    "Sigmoid",
    "Slopes",
    "Softmax",
    "attention",
    "gathers",
]

Segments = Int[Array, "B T"] | tuple[Int[Array, "B T"], Int[Array, "B S"]]


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One way to compute attention, a value of IMPLEMENTATIONS.

    run(q, k, v, *, segments, mask, bias, scale, softmax, dropout) -> (y, lse), with all arguments checked and present:
    segments are a pair or None; softmax has no temperature and no sink, except for the definition, "naive", which
    handles both; lse is None for a sigmoid. refuses(q, k, v, *, segments, mask, bias, softmax, dropout) returns None,
    or in words the argument that it cannot honour, from shapes, dtypes and types alone. platforms: where it runs.
    """

    run: Callable
    refuses: Callable
    platforms: tuple[str, ...]


def _nothing(*arrays, **described) -> None:
    """The `refuses` of an implementation that honours every argument."""


def _imported_when_used(path: str, platforms: tuple[str, ...]) -> Implementation:
    """The implementation in the module at `path`, which is imported on first use, since its imports take a while."""

    def module():
        return importlib.import_module(path, __name__)

    return Implementation(
        lambda *arrays, **given: module().run(*arrays, **given),
        lambda *arrays, **given: module().refuses(*arrays, **given),
        platforms,
    )


EVERYWHERE = ("cpu", "gpu", "tpu")

# Every name that `implementation` may take: one import and one line.
IMPLEMENTATIONS = {
    "naive": Implementation(naive, _nothing, EVERYWHERE),
    "xla": Implementation(xla, _nothing, EVERYWHERE),
    "tpu": _imported_when_used(".tpu.entry", ("tpu",)),
    "cudnn": _imported_when_used(".cudnn", ("gpu",)),
    "hopper": _imported_when_used(".hopper.entry", ("gpu",)),
}
PREFERENCE = {"tpu": ("tpu", "xla"), "gpu": ("cudnn", "xla"), "cpu": ("xla",)}


def attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    segments: Segments | None = None,
    mask: Mask = Mask.full(),  # noqa: B008 (frozen)
    bias: Bias | None = None,
    scale: float | None = None,
    softmax: str | Softmax | Sigmoid = "softmax",
    dropout: Dropout | None = None,
    implementation: str | None = None,
) -> Float[Array, "B T N H"]:
    """softmax(scale · q kᵀ + bias) v within segments, in q's dtype, scores and sums in float32 (float64 for float64).

    N query heads share K heads of keys and values, N a multiple of K. segments: one array for queries and keys, or a
    pair; 0 is padding. A query attends to keys of its own segment, and padding neither attends nor is attended to. A
    query that attends to nothing returns zeros. scale: 1 / sqrt(H) if None.
    softmax: how scores become weights, "softmax", "off_by_one", "sigmoid", or a description of more.
    implementation: a name of IMPLEMENTATIONS, or None for the best that honours the arguments on this platform.

    Raises ValueError for what does not fit or does not exist; NotImplementedError for an implementation that was named
    and cannot honour an argument or run on this platform.
    """
    given = dict(segments=segments, mask=mask, bias=bias, scale=scale, softmax=softmax, dropout=dropout)
    return values_and_lse(q, k, v, implementation=implementation, **given)[0]


def values_and_lse(q, k, v, *, segments, mask, bias, scale, softmax, dropout, implementation):
    """`attention`, and the logarithm of its softmax's denominator [B T N], in which a sink is included.

    Both have gradients. The logarithm is float32, -inf for a query that attends to nothing, where there is no sink, and
    None for a sigmoid.
    """
    softmax = described(softmax, q.shape[2] if q.ndim == 4 else 1)
    segments = _checked(q, k, v, segments, mask, bias, dropout)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if implementation not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attention has no implementation {implementation!r}; it has {', '.join(IMPLEMENTATIONS)}")
    sink = getattr(softmax, "sink", None)
    if implementation != "naive":
        q, bias, scale, softmax = without_temperature(q, bias, scale, softmax)
        softmax = softmax if sink is None else dataclasses.replace(softmax, sink=None)
    given = dict(segments=segments, mask=mask, bias=bias, softmax=softmax, dropout=dropout)
    chosen = _choice(implementation, q, k, v, given)
    y, lse = chosen.run(q, k, v, scale=scale, **given)
    y, lse = _promised(y, lse, mask)
    y = stated(y, 4 * keys_of_a_query(mask, q.shape[1], k.shape[1]))  # of a score and of a sum, 2 each per key
    return (y, lse) if sink is None or implementation == "naive" else with_sink(y, lse, sink)


def _promised(y, lse, mask: Mask):
    """y and lse, with NaN in rows where `everyone` marks more tokens than the mask's `most` promises."""
    if mask.most is None or mask.most >= mask.everyone.shape[1]:
        return y, lse
    kept = (mask.everyone.sum(axis=1) <= mask.most)[:, None, None]
    return jnp.where(kept[..., None], y, jnp.nan), None if lse is None else jnp.where(kept, lse, jnp.nan)


def _choice(name, q, k, v, given) -> Implementation:
    here = platform()
    if name is None:
        names = [n for n in PREFERENCE.get(here, ("xla",)) if n in IMPLEMENTATIONS]
        if here == "tpu" and decode.few(q.shape[1], k.shape[1]):
            names = ["xla"]
        return next(
            IMPLEMENTATIONS[n] for n in names if n == "xla" or IMPLEMENTATIONS[n].refuses(q, k, v, **given) is None
        )
    chosen = IMPLEMENTATIONS[name]
    if here not in chosen.platforms and here in EVERYWHERE:
        raise NotImplementedError(
            f"attention's implementation {name!r} runs on {' and '.join(chosen.platforms)}, not on {here}; "
            f"'xla' runs everywhere, and None takes the best"
        )
    refused = chosen.refuses(q, k, v, **given)
    if refused is not None:
        raise NotImplementedError(
            f"attention's implementation {name!r} cannot honour {refused}; 'xla' honours every argument, and None "
            "takes the best that does"
        )
    return chosen


def _checked(q, k, v, segments, mask, bias, dropout):
    """The segments as a pair or None; raises ValueError for arguments that do not fit."""
    for name, a in (("q", q), ("k", k), ("v", v)):
        if a.ndim != 4:
            raise ValueError(f"attention takes {name} of shape [batch, length, heads, width], not {a.shape}")
    (B, T, N, H), (_, S, K, _) = q.shape, k.shape
    if k.shape != v.shape:
        raise ValueError(f"attention takes k and v of one shape, not {k.shape} and {v.shape}")
    if k.shape[0] != B or k.shape[3] != H:
        raise ValueError(f"attention takes q and k of one batch and width, not {q.shape} and {k.shape}")
    if 0 in (*q.shape, S, K):
        raise ValueError(f"attention takes arrays that are not empty, not q {q.shape} and k {k.shape}")
    if N % K:
        raise ValueError(f"attention takes query heads that are a multiple of the key heads, not {N} and {K}")
    dtypes = [jnp.dtype(a.dtype).name for a in (q, k, v)]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(q.dtype, jnp.floating):
        raise ValueError(f"attention takes q, k and v of one floating dtype, not {', '.join(dtypes)}")
    if q.dtype == jnp.float64 and platform() != "cpu":
        raise ValueError("attention computes in float32 or less on an accelerator; q, k and v are float64")
    if dropout is not None and not 0 <= dropout.rate < 1:
        raise ValueError(f"dropout.rate is in [0, 1), not {dropout.rate}")
    mask.check(B, N, T, S)
    check_bias(bias, B, N, T, S, mask.offset)
    if segments is None:
        return None
    pair = segments if isinstance(segments, tuple) else (segments, segments)
    for name, has, want in zip(("queries", "keys"), pair, ((B, T), (B, S)), strict=True):
        if has.shape != want:
            raise ValueError(f"the segments of the {name} have shape {has.shape}; {want} is needed")
        if not jnp.issubdtype(has.dtype, jnp.integer):
            raise ValueError(f"the segments of the {name} are integers, 0 being padding, not {has.dtype}")
    return pair
