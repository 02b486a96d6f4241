"""Attention on TPU by Pallas kernels: any length, packed, windowed, biased; forward and backward.

`tpu_plan` cuts rows into blocks and says which meet, `tpu_block` gives the scores of a block, `tpu_line` a bias of
distances; `tpu_forward` and `tpu_backward` walk over the blocks, and `tpu_call` hands them their operands. Here the
public function's arguments become those operands, and the two passes one differentiable function.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import tpu_line
from .bias import Bias, Buckets, Dense, GridDecay, GridTable, Slopes
from .mask import Mask, Pattern
from .softmax import Sigmoid
from .tpu_backward import backward
from .tpu_block import HIDDEN, LOG2E, How
from .tpu_forward import forward
from .tpu_plan import LANES, Plan, plan, visits

QUERIES = 16_384  # whose gradient vector memory holds, in one column of heads
PLANE = 512  # queries and keys of a bias written out


def refuses(q, k, v, *, segments, mask, bias, softmax, dropout) -> str | None:
    """In words, what these kernels cannot honour."""
    if q.dtype not in (jnp.bfloat16, jnp.float32):
        return f"{q.dtype} arrays; they take bfloat16 and float32"
    if getattr(softmax, "clip", None) is not None:
        return f"softmax clip={softmax.clip}"
    if bias is not None and type(bias) not in NUMBERS:
        return f"a bias of kind {type(bias).__name__}; they take {', '.join(kind.__name__ for kind in NUMBERS)}"
    if isinstance(bias, Dense | GridTable) and max(q.shape[1], k.shape[1]) > PLANE:
        return f"a {type(bias).__name__} bias of more than {PLANE} queries or keys"
    return None


def tpu(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """The public function's arguments, checked and none refused -> (y, lse); lse is None for a sigmoid."""
    (_, T, N, H), K = q.shape, k.shape[2]
    if K != N and H % LANES:  # keys of several heads lie in one column of lanes: each query head gets its own
        k, v = (jnp.repeat(a, N // K, axis=2) for a in (k, v))
    given = dict(bias=bias, scale=scale, softmax=softmax, dropout=dropout)
    if T > (most := _queries_at_once(N, H, mask)):
        parts = [
            tpu(q[:, at : at + most], k, v, segments=own, mask=seen, **given)
            for at in range(0, T, most)
            for own, seen in [_part(segments, mask, at, most)]
        ]
        y, lse = (None if part[0] is None else jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return y, lse
    sigmoid = isinstance(softmax, Sigmoid)
    shift = jnp.broadcast_to(jnp.asarray(softmax.shift, jnp.float32), (N,)) if sigmoid else None
    cut = plan(q.shape, k.shape, mask, whole=isinstance(bias, Dense | GridTable))
    form, numbers = NUMBERS[type(bias)](bias, cut, mask) if bias is not None else ("none", None)
    how = How(
        scale=scale,
        order=mask.order,
        before=mask.before,
        after=mask.after,
        marks=tuple(name for name in ("prefix", "everyone", "pattern") if getattr(mask, name) is not None),
        segments=segments is not None,
        start=mask.offset is not None,
        pattern=0 if mask.pattern is None else mask.pattern.size,
        bias=form,
        across=getattr(bias, "width", 0),
        cap=softmax.cap,
        rate=0.0 if dropout is None else dropout.rate,
        kind="sigmoid" if sigmoid else "softmax",
    )
    fixed = (segments, mask, None if dropout is None else dropout.seed)
    y, lse = _attend(cut, how, q, k, v, numbers, shift, fixed)
    return y, None if sigmoid else lse


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(cut: Plan, how: How, q, k, v, numbers, shift, fixed):
    """y [B T N H] and lse [B T N]; numbers, of the bias, and shift, of a sigmoid, have gradients, fixed has none."""
    return _attend_forward(cut, how, q, k, v, numbers, shift, fixed)[0]


def _attend_forward(cut, how, q, k, v, numbers, shift, fixed):
    operands = _operands(cut, how, q, k, v, numbers, shift, fixed)
    segments, mask, _ = fixed
    out = forward(cut, how, operands, visits(cut, mask, segments, by="queries"))
    y, lse = out["y"].reshape(q.shape), out["lse"]
    natural = math.log(2) * lse.reshape(cut.B, cut.N, cut.T).swapaxes(1, 2)
    return (y, natural), (q, k, v, numbers, shift, fixed, y, lse)


def _attend_backward(cut, how, saved, gradients):
    q, k, v, numbers, shift, fixed, y, lse = saved
    dy, dlse = gradients
    segments, mask, _ = fixed
    blind = lse == -jnp.inf
    dlse = dlse.swapaxes(1, 2).reshape(lse.shape)
    operands = _operands(cut, how, q, k, v, numbers, shift, fixed) | dict(
        y=y.reshape(cut.B, cut.T, -1),
        dy=dy.reshape(cut.B, cut.T, -1),
        lse=jnp.where(blind, -HIDDEN, lse),  # so that the weights of a query that sees nothing are 0
        dlse=jnp.where(blind, 0.0, dlse),
    )
    out = backward(cut, how, operands, visits(cut, mask, segments, by="keys"))
    dk, dv = (out[name].reshape(cut.B, cut.S, cut.K, -1, cut.H) for name in ("dk", "dv"))
    dk, dv = (a[:, :, :, 0] if cut.N == cut.K else a.sum(3).astype(k.dtype) for a in (dk, dv))
    numbers_gradient = next((out[name] for name in ("d_heads", "d_line", "d_plane") if name in out), None)
    return out["dq"].reshape(q.shape), dk, dv, numbers_gradient, out.get("d_shift"), None


_attend.defvjp(_attend_forward, _attend_backward)


def _operands(cut: Plan, how: How, q, k, v, numbers, shift, fixed) -> dict:
    """What the kernels read, by name, in the shapes that `tpu_call` cuts."""
    segments, mask, seed = fixed
    operands = {name: a.reshape(cut.B, a.shape[1], -1) for name, a in (("q", q), ("k", k), ("v", v))}
    if segments is not None:
        operands |= dict(q_segments=segments[0][:, None], k_segments=segments[1][:, None])
    if how.start:
        operands["start"] = jnp.asarray(mask.start, jnp.int32).reshape(1)
    if mask.prefix is not None:
        operands["prefix"] = mask.prefix[:, None].astype(jnp.int32)
    if mask.everyone is not None:
        everyone = mask.everyone.astype(jnp.int32)
        places = mask.start + jnp.arange(cut.T)
        operands["k_everyone"] = everyone[:, None]
        operands["q_everyone"] = everyone.at[:, places].get(mode="fill", fill_value=0)[:, None]
    if mask.pattern is not None:
        operands["pattern"] = mask.pattern.shown.swapaxes(1, 2).astype(jnp.bfloat16)
    if numbers is not None:
        operands["bias"] = numbers * LOG2E
    if shift is not None:
        operands["shift"] = shift
    if seed is not None:
        operands["seed"] = seed.reshape(1)
    return operands


def _queries_at_once(N: int, H: int, mask: Mask) -> int:
    """How many queries one call takes."""
    most = QUERIES * LANES // (plan((1, 1, N, H), (1, 1, N, H), mask).width)
    return most if mask.pattern is None else most - most % mask.pattern.size


def _part(segments, mask: Mask, at: int, length: int):
    """Segments and mask of `length` queries from `at` on."""
    if segments is not None:
        segments = segments[0][:, at : at + length], segments[1]
    pattern = mask.pattern
    if pattern is not None:
        shown = pattern.shown[:, at // pattern.size : -(-(at + length) // pattern.size)]
        pattern = Pattern(pattern.size, shown)
    return segments, dataclasses.replace(mask, offset=mask.start + at, pattern=pattern)


def _plane(bias: Bias, cut: Plan) -> Float[Array, "#B #N S T"]:
    """All numbers of the bias, keys first; of all heads where they are of all rows."""
    if isinstance(bias, Dense):
        values = jnp.asarray(bias.values)
        if values.shape[0] > 1:
            values = jnp.broadcast_to(values, (cut.B, cut.N, cut.T, cut.S))
    else:
        tokens = jnp.arange(cut.T)
        values = jax.vmap(lambda n: bias.block(0, n, tokens, tokens))(jnp.arange(cut.N))[None]
    return values.swapaxes(2, 3).astype(jnp.float32)


# How a bias reaches the kernels: the name of its form, and its numbers as a function of bias, plan and mask.
NUMBERS = {
    Slopes: lambda bias, cut, mask: ("line", tpu_line.line(bias, mask.start, cut)),
    Buckets: lambda bias, cut, mask: ("line", tpu_line.line(bias, mask.start, cut)),
    GridDecay: lambda bias, cut, mask: ("decay", jnp.asarray(bias.rates, jnp.float32)),
    Dense: lambda bias, cut, mask: ("plane", _plane(bias, cut)),
    GridTable: lambda bias, cut, mask: ("plane", _plane(bias, cut)),
}
