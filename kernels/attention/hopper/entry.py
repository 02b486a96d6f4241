"""Attention on Hopper GPUs (H100, H200): Pallas Mosaic GPU kernels for bfloat16 and float16, any length.

Written and compiled for sm_90a, and run only in simulation so far, so it is used only when it is named.
"""

import functools

import jax
import jax.numpy as jnp

from ...platform import interpreted
from ..bias import Buckets, Dense, GridDecay, GridTable, Slopes
from ..mask import Mask
from ..softmax import Softmax
from .blocks import diagonals, ids, padded, skew, spans
from .plan import ALIGN, LOG2E, MULTIPROCESSORS, Call, tilings

WIDTHS = (64, 128, 256)  # of heads; other widths are padded with zeros
OUT_OF_PLACE = (Dense, GridTable, GridDecay)  # expanded to [.., T, S] before the kernel reads them


def refuses(q, k, v, *, segments, mask, bias, softmax, dropout) -> str | None:
    """The argument that the kernels cannot honour, in words, or None."""
    if jax.__version_info__ < (0, 11):
        return f"jax {jax.__version__} (0.11 and later it can)"
    if jax.default_backend() == "gpu" and jax.devices()[0].compute_capability != "9.0":
        return f"a GPU of compute capability {jax.devices()[0].compute_capability} (9.0, Hopper, it can)"
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"{jnp.dtype(q.dtype).name} (bfloat16 and float16 it can)"
    if q.shape[-1] > WIDTHS[-1]:
        return f"heads of width {q.shape[-1]} (at most {WIDTHS[-1]})"
    if bias is not None and not isinstance(bias, (Slopes, Buckets, *OUT_OF_PLACE)):
        return f"a bias of type {type(bias).__name__}"
    if bias is not None and not isinstance(bias, Slopes) and q.shape[-1] > 128:
        return f"a bias of type {type(bias).__name__} with heads of width {q.shape[-1]} (up to 128 it can)"
    if mask.everyone is not None:
        return "mask.everyone"
    if mask.pattern is not None:
        return "mask.pattern"
    if not isinstance(softmax, Softmax):
        return f"a softmax of type {type(softmax).__name__}"
    if softmax.clip is not None:
        return "softmax.clip"
    return None


def run(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """(y, lse) for the public function's arguments, all of them checked and present."""
    (B, T, N, H), (_, S, K, _) = q.shape, k.shape
    if scale <= 0:  # the running maximum is taken before the factor: a positive one keeps its place
        q, scale = (-q, -scale) if scale < 0 else (q * 0, 1.0)
    width = next(width for width in WIDTHS if H <= width)
    kind, numbers = _numbers(bias, mask, B, T, S)
    prefix = mask.prefix if mask.order == "causal" else None
    marks = ids(segments, prefix, (B, T, S))
    plan = Call(
        lengths=(T, S),
        heads=(N, K),
        width=width,
        scale=float(scale),
        before=mask.reach[0],
        after=mask.reach[1],
        marks=marks is not None,
        prefix=prefix is not None,
        offset=mask.offset is not None,
        bias=kind,
        cap=softmax.cap,
        dropout=0.0 if dropout is None else dropout.rate,
    )
    fixed = dict(
        mask=Mask(mask.order, mask.before, mask.after, prefix, mask.offset),
        marks=marks,
        seed=None if dropout is None else jax.lax.bitcast_convert_type(dropout.seed, jnp.int32).reshape(1),
    )
    q, k, v = (padded(a, 3, width) for a in (q, k, v))
    y, lse = _attend(plan, q, k, v, None if numbers is None else numbers.astype(jnp.float32), fixed)
    return y[..., :H], lse[..., :T].swapaxes(1, 2) / LOG2E


def _numbers(bias, mask, B, T, S):
    """A bias in the form that the kernels take: slopes [N], a line [N, T+S-1] by key - query, or [B|1, N|1, T, S]."""
    if bias is None:
        return None, None
    if isinstance(bias, Slopes):
        return "slopes", jnp.asarray(bias.slopes)
    if isinstance(bias, Buckets):
        ahead = jnp.arange(1 - T, S) - mask.start
        return "line", jnp.asarray(bias.table)[bias.bucket(ahead)].T
    if isinstance(bias, Dense):
        return "dense", jnp.asarray(bias.values)
    N = (bias.table if isinstance(bias, GridTable) else bias.rates).shape[-1]
    query, key = jnp.arange(T) + mask.start, jnp.arange(S)
    return "dense", jax.vmap(lambda n: bias.block(0, n, query, key))(jnp.arange(N))[None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(plan, q, k, v, numbers, fixed):
    return _forward(plan, q, k, v, numbers, fixed)[0]


def _forward(plan, q, k, v, numbers, fixed):
    from .forward import forward

    tiling = tilings(plan)["forward"]
    v = _real(v, fixed, 1)  # a weight of 0 times NaN is NaN; NaN in q and k affects only scores that the mask replaces
    arrays = _arrays(plan, dict(q=q, k=k, v=v), numbers, fixed, "rows")
    arrays["spans"] = spans(fixed["mask"], fixed["marks"], plan.lengths, (tiling.rows, tiling.columns), "keys")
    y, lse = forward(plan, tiling, arrays)
    y = y[:, : plan.lengths[0]]
    return (y, lse), (q, k, v, numbers, fixed, y, lse)


def _backward(plan, residuals, cotangents):
    from . import backward
    from .bias import biases

    q, k, v, numbers, fixed, y, lse = residuals
    dy, dlse = cotangents
    T, S = plan.lengths
    cut = tilings(plan)
    q, k, dy = _real(q, fixed, 0), _real(k, fixed, 1), _real(dy.astype(q.dtype), fixed, 0)
    delta = jnp.einsum("btnh,btnh->bnt", dy, y, preferred_element_type=jnp.float32)
    # lse is in base 2, and dlse is the cotangent of that; dlse may be anything where a query attends to nothing.
    blind = jnp.isneginf(lse) | (jnp.arange(lse.shape[2]) >= T)
    delta = jnp.where(blind, 0, padded(delta, 2, lse.shape[2]) - dlse * LOG2E)
    lse = jnp.where(blind, jnp.inf, lse)  # weights of 0
    given = dict(q=q, k=k, v=v, do=dy, lse=lse, delta=delta)
    by_row = _arrays(plan, given, numbers, fixed, "rows")
    by_column = _arrays(plan, given, numbers, fixed, "columns")

    def table(tiling, walk):
        sizes = (tiling.rows, tiling.columns) if walk == "keys" else (tiling.columns, tiling.rows)
        return dict(spans=spans(fixed["mask"], fixed["marks"], plan.lengths, sizes, walk))

    dq = backward.queries(plan, cut["dq"], by_row | table(cut["dq"], "keys"))
    of_keys = by_column | table(cut["dkv"], "queries")
    apart = plan.width == 256 or (plan.width == 128 and plan.work)  # each takes width / 2 registers in every thread
    together = [("dk",), ("dv",)] if apart else [("dk", "dv")]
    found = {}
    for wanted in together:
        found |= backward.keys_and_values(plan, cut["dkv"], of_keys, wanted)
    dk, dv = found["dk"], found["dv"]
    dnumbers = None
    if numbers is not None:
        tiling = cut["dbias"]
        B = q.shape[0]
        share = 1 if plan.bias == "dense" and numbers.shape[0] > 1 else _share(plan, tiling, B)
        sums = biases(plan, tiling, by_row | table(tiling, "keys"), share)
        dnumbers = _bias_gradient(plan, tiling, sums, numbers, fixed)
    return dq[:, :T], dk[:, :S], dv[:, :S], dnumbers, None


_attend.defvjp(_forward, _backward)


def _arrays(plan, given, numbers, fixed, queries):
    """The kernels' inputs; queries: "rows" or "columns", the side of a block of scores that queries are on."""
    arrays = dict(given)
    # The copy engine takes tiles of 8 rows, and reads zeros past an array's end; a simulated copy may not reach there.
    whole = ALIGN if interpreted() else 8
    arrays |= {name: padded(arrays[name], 1, whole) for name in ("q", "k", "v", "do") if name in arrays}
    if plan.marks:
        arrays["q_ids"], arrays["k_ids"] = (padded(a, 1, ALIGN) for a in fixed["marks"])
    if plan.offset:
        arrays["offset"] = jnp.asarray(fixed["mask"].offset, jnp.int32).reshape(1)
    if plan.dropout:
        arrays["seed"] = fixed["seed"]
    if plan.bias == "slopes":
        arrays["slopes"] = numbers * LOG2E
    elif plan.bias is not None:
        arrays["wide"] = _wide(plan, numbers, queries) * LOG2E
    return arrays


def _wide(plan, numbers, queries):
    """The bias laid out so that each block of it is a slice; see `Kernel.part`."""
    if plan.bias == "dense":
        numbers = padded(padded(numbers, 2, ALIGN), 3, ALIGN)
        return numbers if queries == "rows" else numbers.swapaxes(2, 3)
    T, S = plan.lengths
    T_padded, S_padded = (-(-n // ALIGN) * ALIGN for n in (T, S))
    if queries == "rows":  # [n, r, x] is of key - query = x - r - T_padded, which the line holds T - 1 further on
        return skew(numbers, 64, T_padded + S_padded, T - 1 - T_padded, 1)
    return skew(numbers, 64, T_padded + S_padded, T - 1 + S_padded, -1)


def _real(a, fixed, side):
    """a with zeros in padding, which may hold NaN."""
    marks = fixed["marks"]
    return a if marks is None else jnp.where((marks[side] > side)[:, :, None, None], a, 0)


def _share(plan, tiling, B):
    """The number of rows in one sum of a bias's gradient, few enough that every multiprocessor has work."""
    from .bias import bands

    tiles = plan.heads[0] * bands(plan.lengths, tiling)[0]
    wanted = min(B, max(1, -(-4 * MULTIPROCESSORS // tiles)))
    return next(B // parts for parts in range(wanted, B + 1) if B % parts == 0)


def _bias_gradient(plan, tiling, sums, numbers, fixed):
    """The gradient of slopes, of a line or of a dense bias, from sums of ds over blocks."""
    from .bias import bands

    T, S = plan.lengths
    if plan.bias == "dense":
        blocks = (-(-T // tiling.rows), -(-S // tiling.columns))
        groups, N = sums.shape[:2]
        whole = sums.reshape(groups, N, *blocks, tiling.rows, tiling.columns).swapaxes(3, 4)
        whole = whole.reshape(groups, N, blocks[0] * tiling.rows, blocks[1] * tiling.columns)[..., :T, :S]
        for axis in (0, 1):
            whole = whole if numbers.shape[axis] > 1 else whole.sum(axis, keepdims=True)
        return whole
    _, _, shift = bands(plan.lengths, tiling)
    line = diagonals(sums.sum(0))  # from key - query = -columns · shift - (rows - 1) on
    line = line[:, tiling.columns * shift + tiling.rows - T :][:, : T + S - 1]
    if plan.bias == "line":
        return line
    distance = jnp.abs(jnp.arange(1 - T, S) - fixed["mask"].start)
    return -(line * distance).sum(1)
