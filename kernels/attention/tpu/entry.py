"""Attention on TPU by Pallas kernels: for any length, packed, windowed and biased, forward and backward.

`plan` cuts rows into blocks and decides which attend to which. `block` computes the scores of a block: `coding` moves
some of that work into the matrix unit, `line` adds a bias of distances and `relative` one of products with vectors of
distances. `forward` and `backward` iterate over the blocks, and `call` gives them their operands. This file turns the
public function's arguments into those operands, and the two passes into one differentiable function.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...platform import cores, matrix_unit
from ..bias import Bias, Buckets, Dense, GridDecay, GridTable, Relative, Slopes
from ..mask import Mask, Pattern
from ..softmax import Sigmoid
from . import coding, line, relative
from .backward import backward, backward_of_planes
from .block import HIDDEN, LOG2E, BiasForm, CodingForm, How, MaskForm, SoftmaxForm
from .forward import forward
from .partition import on_each_chip, unknown
from .plan import LANES, Plan, plan, seen, visits

TABLES = 24 * 2**20  # bytes of vector memory for a relative bias's tables and their gradients in a column of heads
QUERIES = 16_384  # the most queries whose gradient fits vector memory, in one column of heads


def refuses(q, k, v, *, segments, mask, bias, softmax, dropout) -> str | None:
    """The argument that these kernels cannot honour, in words, or None."""
    if q.dtype not in (jnp.bfloat16, jnp.float32):
        return f"{q.dtype} arrays; they take bfloat16 and float32"
    if bias is not None and type(bias) not in NUMBERS:
        return f"a bias of kind {type(bias).__name__}; they take {', '.join(kind.__name__ for kind in NUMBERS)}"
    if isinstance(bias, Relative) and (needed := relative.memory(bias, plan(q.shape, k.shape, mask))) > TABLES:
        return (
            f"a Relative bias whose tables and their gradients take {needed >> 20} MiB, above {TABLES >> 20}, at once"
        )
    if mask.pattern is not None and mask.pattern.at is not None:
        return "mask.pattern.at"
    if unknown():
        return "arrays that may lie on several chips, outside of xfm.kernels.platform.spread_over(mesh)"
    return None


def run(q, k, v, *, segments, mask, bias, scale, softmax, dropout):
    """(y, lse) for the public function's arguments, checked and none refused; lse is None for a sigmoid."""
    (_, T, N, H), K = q.shape, k.shape[2]
    if K != N and H % LANES:  # a column of lanes holds several key heads, so each query head gets its own
        k, v = (jnp.repeat(a, N // K, axis=2) for a in (k, v))
    given = dict(scale=scale, softmax=softmax, dropout=dropout)
    if T > (most := _queries_at_once(N, H, mask)):
        parts = [
            run(q[:, at : at + most], k, v, segments=own, mask=shown, bias=of_part, **given)
            for at in range(0, T, most)
            for own, shown, of_part in [_part(segments, mask, bias, at, most)]
        ]
        y, lse = (None if part[0] is None else jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return y, lse
    sigmoid = isinstance(softmax, Sigmoid)
    shift = jnp.broadcast_to(jnp.asarray(softmax.shift, jnp.float32), (N,)) if sigmoid else None
    form, numbers_of = ("none", None) if bias is None else NUMBERS[type(bias)]
    cut = plan(q.shape, k.shape, mask, form)
    numbers = None if bias is None else numbers_of(bias, cut, mask)
    kind = "sigmoid" if sigmoid else "softmax" if softmax.clip is None else "clipped"
    left = softmax.cap is None  # to the matrix unit: what it has hidden or subtracted, a cap would bring near again
    how = How(
        scale,
        MaskForm(
            order=mask.order,
            before=mask.before,
            after=mask.after,
            marks=tuple(name for name in ("prefix", "everyone", "pattern") if getattr(mask, name) is not None),
            segments=segments is not None,
            start=mask.offset is not None,
            pattern=0 if mask.pattern is None else mask.pattern.size,
        ),
        BiasForm(form, bias.grid[1] if isinstance(bias, GridDecay) else 0),
        SoftmaxForm(kind, softmax.cap, getattr(softmax, "clip", None), 0.0 if dropout is None else dropout.rate),
        CodingForm(
            codes=segments is not None and left and form not in ("relative", "plane"),  # whose numbers may be anything
            folded=kind == "softmax" and left and q.dtype == jnp.bfloat16,
            unit=matrix_unit(),
        ),
        cores(),
    )
    if segments is not None and form == "relative":
        own = dict(relative_q=segments[0], relative_k=segments[1])
        numbers = {name: _without_padding(a, own[name]) if name in own else a for name, a in numbers.items()}
    y, lse = _attend(how, q, k, v, numbers, shift, (segments, mask, None if dropout is None else dropout.seed))
    return y, None if sigmoid else lse


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how: How, q, k, v, numbers, shift, fixed):
    """y [B T N H] and lse [B T N]; the bias's numbers and a sigmoid's shift have gradients, `fixed` has none."""
    return _run_forward(how, *_of_tokens(q, k, v, fixed), numbers, shift, fixed)[:2]


def _attend_forward(how, q, k, v, numbers, shift, fixed):
    q, k, v = _of_tokens(q, k, v, fixed)
    y, lse, gained_from = _run_forward(how, q, k, v, numbers, shift, fixed, sloped=how.softmax.kind == "clipped")
    return (y, lse), (q, k, v, numbers, shift, fixed, gained_from, lse)


def _run_forward(how, q, k, v, numbers, shift, fixed, sloped=False):
    """y, lse, and the values whose product with y's gradient enters the gradients of all scores of a query."""

    def run(q, k, v, numbers, shift, fixed, *, rows, heads):
        segments, mask, _ = fixed
        cut = plan(q.shape, k.shape, mask, how.bias.form)
        here = _settled(how, cut)
        operands = _operands(here, cut, q, k, v, numbers, shift, fixed, rows, heads)
        out = forward(cut, here, operands, visits(cut, mask, segments, by="queries"), sloped)
        lse = out["lse"].reshape(cut.B, cut.N, cut.T).swapaxes(1, 2)
        values = [out[name].reshape(q.shape) for name in ("y", "sloped") if name in out]
        return values[0], math.log(2) * lse, *values[1:]

    y, lse, *others = _spread(run, (q, k, v, numbers, shift, fixed), ["b-n-", "b-n"] + ["b-n-"] * sloped)
    return y, lse, *(others or [y])


def _attend_backward(how, saved, gradients):
    def run(q, k, v, numbers, shift, fixed, y, lse, dy, dlse, *, rows, heads):
        """The gradients of one chip's rows and heads."""
        segments, mask, _ = fixed
        cut = plan(q.shape, k.shape, mask, how.bias.form)
        lse, dlse = (a.swapaxes(1, 2).reshape(cut.B, cut.columns, cut.heads, cut.T) for a in (lse, dlse))
        blind = lse == -jnp.inf
        here = _settled(how, cut)
        operands = _operands(here, cut, q, k, v, numbers, shift, fixed, rows, heads) | dict(
            y=y.reshape(cut.B, cut.T, -1),
            dy=(dy if segments is None else _without_padding(dy, segments[0])).reshape(cut.B, cut.T, -1),
            lse=jnp.where(blind, -HIDDEN, lse * LOG2E),  # so that the weights of a query that attends to nothing are 0
            dlse=jnp.where(blind, 0.0, dlse),
        )
        out = backward(cut, here, operands, visits(cut, mask, segments, by="keys"))
        if how.bias.form == "plane" and "d_plane" not in out:
            shape = (*numbers.shape[:2], cut.S, cut.T)
            out["d_plane"] = backward_of_planes(cut, here, operands, seen(cut, mask, segments), shape)
        dk, dv = (out[name].reshape(cut.B, cut.S, cut.K, -1, cut.H) for name in ("dk", "dv"))
        dk, dv = (a[:, :, :, 0] if cut.N == cut.K else a.sum(3).astype(k.dtype) for a in (dk, dv))
        if how.bias.form == "relative":
            out |= {f"d_{name}": out[f"d_{name}"].reshape(a.shape) for name, a in numbers.items()}
        names = ("d_heads", "d_line", "d_plane", *relative.GRADIENTS, "d_shift")
        learned = [out[name] for name in names if name in out]
        return out["dq"].reshape(q.shape), dk, dv, *learned

    q, k, v, numbers, shift, fixed, *_ = saved
    learned = _axes_of_numbers(numbers) + ([] if shift is None else ["n"])
    dq, dk, dv, *found = _spread(run, (*saved, *gradients), ["b-n-", _axes_of_keys(k), _axes_of_keys(k), *learned])
    d_numbers = jax.tree.map(lambda _: found.pop(0), numbers)
    return dq, dk, dv, d_numbers, None if shift is None else found.pop(0), None


_attend.defvjp(_attend_forward, _attend_backward)


def _settled(how: How, cut: Plan) -> How:
    """`how` with the coding that was requested and that the lanes of this chip's heads have room for."""
    codes = how.coding.codes and coding.codes_fit(cut, how.scale, how.coding.unit)
    folded = how.coding.folded and coding.fold_fits(cut, how.scale, how.coding.unit)
    return dataclasses.replace(how, coding=dataclasses.replace(how.coding, codes=codes, folded=folded))


def _spread(run, given, results: list[str]) -> tuple:
    """run(*given, rows=…, heads=…) with its arrays spread over the chips by rows and heads."""
    q, k, v, numbers, shift, (segments, mask, seed), *others = given
    axes = ["b-n-", _axes_of_keys(k), _axes_of_keys(k)]
    axes += _axes_of_numbers(numbers) + ([] if shift is None else ["n"])
    pattern = None if mask.pattern is None else ("n--" if mask.pattern.shown.shape[0] > 1 else "---")
    axes += [] if segments is None else ["b-", "b-"]
    marks = (mask.prefix, "b-"), (mask.offset, ""), (mask.everyone, "b-"), (mask.pattern, pattern), (seed, "")
    axes += [letters for a, letters in marks if a is not None]
    axes += ["b-n-", "b-n"] * (len(others) // 2)
    leaves, tree = jax.tree.flatten(given)
    arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

    def flat(*operands, rows, heads):
        filled = dict(zip(arrays, operands, strict=True))
        return run(*jax.tree.unflatten(tree, [filled.get(i, a) for i, a in enumerate(leaves)]), rows=rows, heads=heads)

    return on_each_chip(flat, [leaves[i] for i in arrays], [axes[i] for i in arrays], results)


def _axes_of_keys(k) -> str:
    """The axes of keys and values; a single head is given to each chip."""
    return "b-k-" if k.shape[2] > 1 else "b---"


def _axes_of_numbers(numbers) -> list[str]:
    """The axes of the bias's numbers: cut by heads, planes by rows too, except where one serves all."""
    if isinstance(numbers, dict):
        return [relative.AXES[name] for name in sorted(numbers)]
    if numbers is None or numbers.ndim < 4:
        return [] if numbers is None else ["n" + "-" * (numbers.ndim - 1)]
    return [("b" if numbers.shape[0] > 1 else "-") + ("n" if numbers.shape[1] > 1 else "-") + "--"]


def _operands(how: How, cut: Plan, q, k, v, numbers, shift, fixed, rows, heads) -> dict:
    """The operands of the kernels, by name, in the shapes that `call` cuts."""
    segments, mask, seed = fixed
    operands = {name: a.reshape(*a.shape[:2], -1) for name, a in (("q", q), ("k", k), ("v", v))}
    if segments is not None:
        own = (a.astype(jnp.int32)[:, None] for a in segments)
        operands |= dict(zip(("q_segments", "k_segments"), own, strict=True))
    if how.coding.codes:
        operands["q_codes"] = coding.codes(segments[0], "queries", q.dtype)
        operands["k_codes"] = coding.codes(segments[1], "keys", k.dtype)
    if how.mask.start:
        operands["start"] = jnp.asarray(mask.start, jnp.int32).reshape(1)
    if mask.prefix is not None:
        operands["prefix"] = mask.prefix[:, None].astype(jnp.int32)
    if mask.everyone is not None:
        everyone = mask.everyone.astype(jnp.int32)
        places = mask.start + jnp.arange(q.shape[1])
        of_queries = everyone.at[:, places].get(mode="fill", fill_value=0)
        operands["k_everyone"] = (everyone if mask.lifts != "queries" else jnp.zeros_like(everyone))[:, None]
        operands["q_everyone"] = (of_queries if mask.lifts != "keys" else jnp.zeros_like(of_queries))[:, None]
    if mask.pattern is not None:
        operands["pattern"] = mask.pattern.shown.swapaxes(1, 2).astype(jnp.bfloat16)
    if how.bias.form == "relative":
        operands |= relative.operands(numbers, cut)
    elif numbers is not None:
        operands["bias"] = numbers * LOG2E
    if how.bias.form == "plane":
        operands["bias"] = _to_whole_blocks(operands["bias"], cut)
    if shift is not None:
        operands["shift"] = shift
    if seed is not None:
        operands |= dict(seed=seed.reshape(1), origin=jnp.stack([jnp.int32(rows), jnp.int32(heads)]))
    return operands


def _of_tokens(q, k, v, fixed):
    """q, k and v with zeros in padding, which may hold anything, NaN included. XLA fuses this into what makes them.

    The gradients in padding are 0 without further masking, since its weights are 0.
    """
    if (segments := fixed[0]) is None:
        return q, k, v
    return tuple(_without_padding(a, own) for a, own in ((q, segments[0]), (k, segments[1]), (v, segments[1])))


def _without_padding(a: Float[Array, "B T N H"], segments: Int[Array, "B T"]) -> Float[Array, "B T N H"]:
    """a with zeros in padding; heads are joined for this, since XLA would otherwise change the array's layout."""
    flat = a.reshape(*a.shape[:2], -1)
    return jnp.where((segments > 0)[..., None], flat, 0).reshape(a.shape)


def _queries_at_once(N: int, H: int, mask: Mask) -> int:
    """The largest number of queries in one call."""
    most = QUERIES * LANES // (plan((1, 1, N, H), (1, 1, N, H), mask).width)
    return most if mask.pattern is None else max(most - most % mask.pattern.size, mask.pattern.size)


def _part(segments, mask: Mask, bias: Bias | None, at: int, length: int):
    """Segments, mask and bias of `length` queries from `at` on."""
    if segments is not None:
        segments = segments[0][:, at : at + length], segments[1]
    pattern = mask.pattern
    if pattern is not None:
        shown = pattern.shown[:, at // pattern.size : -(-(at + length) // pattern.size)]
        pattern = Pattern(pattern.size, shown)
    mask = dataclasses.replace(mask, offset=mask.start + at, pattern=pattern)
    if isinstance(bias, GridTable):
        tokens = jnp.arange(bias.tokens)
        heads = jnp.arange(bias.table.shape[2])
        bias = Dense(jax.vmap(lambda n: bias.block(0, n, tokens[at : at + length], tokens))(heads)[None])
    elif isinstance(bias, Dense):
        bias = Dense(bias.values[:, :, at : at + length])
    elif isinstance(bias, Relative):
        rows = bias.rows[at : at + length + bias.k.shape[1] - 1]
        bias = dataclasses.replace(bias, q=bias.q[:, at : at + length], rows=rows)
    return segments, mask, bias


def _to_whole_blocks(planes: Float[Array, "#B #N S T"], cut: Plan) -> Float[Array, "#B #N s t"]:
    """The planes padded to whole blocks with 0, since memory beyond the last key and query may hold anything."""
    more = (
        blocks * block - length
        for length, blocks, block in ((cut.S, cut.k_blocks, cut.k_block), (cut.T, cut.q_blocks, cut.q_block))
    )
    return jnp.pad(planes, ((0, 0), (0, 0), *((0, n) for n in more)))


def _plane(bias: Bias, cut: Plan) -> Float[Array, "#B #N S T"]:
    """All numbers of the bias, keys first; for every head where there are planes for each row."""
    if isinstance(bias, Dense):
        values = jnp.asarray(bias.values)
        if values.shape[0] > 1:
            values = jnp.broadcast_to(values, (cut.B, cut.N, cut.T, cut.S))
    else:
        values = bias.planes()[None]
    return values.swapaxes(2, 3).astype(jnp.float32)


# How a bias reaches the kernels: the name of its form, and its numbers as a function of bias, plan and mask.
NUMBERS = {
    Slopes: ("line", lambda bias, cut, mask: line.line(bias, mask.start, cut)),
    Buckets: ("line", lambda bias, cut, mask: line.line(bias, mask.start, cut)),
    GridDecay: ("decay", lambda bias, cut, mask: jnp.asarray(bias.rates, jnp.float32)),
    Dense: ("plane", lambda bias, cut, mask: _plane(bias, cut)),
    GridTable: ("plane", lambda bias, cut, mask: _plane(bias, cut)),
    Relative: ("relative", lambda bias, cut, mask: relative.numbers(bias, cut)),
}
