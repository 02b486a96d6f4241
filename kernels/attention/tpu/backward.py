"""The backward pass on TPU: gradients of queries, keys, values and of the bias's numbers, in one pass over the scores.

The weights follow from the scores and their saved logarithm (Dao et al. 2022, section 3.1). The gradient of a whole
row's queries stays in vector memory, so that nothing is computed twice and nothing is summed by several cores: five
products per block where two passes take seven, and the same bits in every run.
"""

import dataclasses
import functools
from collections.abc import Generator

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from . import line, relative
from .block import HIDDEN, LOG2E, Block, BlockIndex, Head, How
from .call import call, call_by_planes, placed, rows_of
from .ops import clipped, dot, iota, side_by_side, sigmoid, when, zeroed
from .plan import ALL, LANES, SOME, Plan, Visits

ADDED_UP = {"d_heads", "d_line", "d_shift"}  # summed over all blocks of a row


def backward(plan: Plan, how: How, operands: dict, visits: Visits | None) -> dict:
    """dq [B T N·H]; dk, dv [B S N·H], for each query head; "d_shift", and "d_heads", "d_line" or "d_plane" of the bias.

    The gradients of shift and bias exist where their operands do, in the same shapes; "d_plane" only where a row is one
    block, since `backward_of_planes` computes it otherwise. For clipped weights the operand "y" is the forward pass's
    "sloped".
    """
    q = operands["q"]
    of_keys = jax.ShapeDtypeStruct(
        (plan.B, plan.S, plan.N * plan.H),
        q.dtype if plan.N == plan.K else jnp.float32,  # those of grouped queries are summed afterwards
    )
    outputs = dict(dq=jax.ShapeDtypeStruct(q.shape, q.dtype), dk=of_keys, dv=of_keys)
    of_column = (plan.B, plan.columns, plan.heads)
    match how.bias.form:
        case "decay":
            outputs["d_heads"] = jax.ShapeDtypeStruct((*of_column, LANES), jnp.float32)
        case "line":
            outputs["d_line"] = jax.ShapeDtypeStruct((*of_column, *operands["bias"].shape[1:]), jnp.float32)
        case "plane" if plan.one_block:
            rows, heads, *scores = operands["bias"].shape
            plan = dataclasses.replace(plan, parts=_parts(plan, how.cores, rows, heads))
            outputs["d_plane"] = jax.ShapeDtypeStruct((max(rows, plan.parts), heads, *scores), jnp.float32)
    if how.softmax.kind == "sigmoid":
        outputs["d_shift"] = jax.ShapeDtypeStruct((*of_column, LANES), jnp.float32)
    scratch = dict(
        dq_sum=pltpu.VMEM((plan.width, plan.q_blocks * plan.q_block), jnp.float32),
        dk_sum=pltpu.VMEM((plan.width, plan.k_block), jnp.float32),
        dv_sum=pltpu.VMEM((plan.width, plan.k_block), jnp.float32),
    )
    if how.bias.form == "line":
        scratch |= line.kept(plan)
    if how.bias.form == "relative":
        learned, sums = relative.gradients(operands, plan)
        outputs, scratch = outputs | learned, scratch | sums
    planes = operands["bias"].shape[:2] if "d_plane" in outputs else None
    kernel = functools.partial(_kernel, plan, how, visits, planes)
    out = call(kernel, plan, operands, visits, "keys", outputs, scratch, name="attention_backward")
    for name in {"d_heads", "d_shift"} & out.keys():
        out[name] = out[name][..., 0].sum(0).reshape(plan.N)
    if "d_line" in out:
        out["d_line"] = out["d_line"].sum(0).reshape(operands["bias"].shape)
    if plan.parts > 1:
        out["d_plane"] = out["d_plane"].sum(0, keepdims=True)
    return out


def _parts(plan: Plan, cores: int, rows: int, heads: int) -> int:
    """The number of parts of the rows, each of which sums the gradient of the planes by itself; rows, heads: of planes.

    There is one for each core, but a single one where the cores can share columns of heads evenly, or rows, since these
    have planes of their own; and where several columns share one plane.
    """
    alone = rows == 1 and (plan.columns == 1 or (heads > 1 and plan.columns % cores > 0))
    return min(cores, plan.row_blocks) if alone else 1


def _kernel(plan: Plan, how: How, visits: Visits | None, planes: tuple[int, int] | None, refs: dict):
    """Computes a step. planes: the numbers of planes, for rows and for heads, where their gradient is computed."""
    _, row_block, j, step = (pl.program_id(axis) for axis in range(4))
    column, _ = placed(plan, pl.program_id(0), row_block)
    first, last = step == 0, step == pl.num_programs(3) - 1
    first_of_row, last_of_row = first & (j == 0), last & (j == pl.num_programs(2) - 1)
    if planes is not None:
        pl.when(_first_of_planes(plan, planes, column, row_block) & first_of_row)(lambda: _clear(refs, "d_plane"))
    if "tiles" in refs:
        pl.when((row_block == 0) & first_of_row)(lambda: line.lay_out(plan, refs))
    if how.bias.form == "relative":
        pl.when((row_block == 0) & first_of_row)(lambda: relative.clear(refs, "d_of_key", "d_of_query"))

    def rows(rows):
        """Computes a step's rows [(r, b), …] at its block of keys and of queries."""
        for r, _ in rows:
            pl.when(first_of_row)(lambda r=r: _clear(refs, *(ADDED_UP & refs.keys()), at=r))
        if plan.short:
            return _whole([Block(plan, how, refs, BlockIndex(column, b, r, 0, 0), visits is not None) for r, b in rows])
        ((r, b),) = rows
        i, state = (step, ALL) if visits is None else visits.at(refs.get("visits"), b, j, step)
        pl.when(first)(lambda: _clear(refs, "dk_sum", "dv_sum"))
        pl.when(first_of_row)(lambda: _clear(refs, "dq_sum"))
        if how.bias.form == "relative":
            pl.when(first)(lambda: relative.clear(refs, "d_relative_k_sum"))
            pl.when(first_of_row)(lambda: relative.clear(refs, "d_relative_q_sum"))
        for one, masked in ((ALL, False), (SOME, True)):
            when(state, one)(lambda masked=masked: _add(Block(plan, how, refs, BlockIndex(column, b, r, i, j), masked)))
        pl.when(last)(lambda: _write(refs, r, dk=refs["dk_sum"][...].T, dv=refs["dv_sum"][...].T))
        pl.when(last_of_row)(lambda: _write(refs, r, dq=refs["dq_sum"][:, : plan.T].T))
        if how.bias.form == "relative":
            pl.when(last)(lambda: relative.write(refs, r, "d_relative_k"))
            pl.when(last_of_row)(lambda: relative.write(refs, r, "d_relative_q"))

    rows_of(plan, rows)


def _first_of_planes(plan: Plan, planes: tuple[int, int], column, row):
    """Whether this step is the first to use its planes; planes shared by all rows, or heads, are used again.

    row: the index of the row, or of the step over rows, among those that share planes.
    """
    rows, heads = planes
    first = row == 0 if rows == 1 else True
    return first & (column == 0) if heads == 1 and plan.N > 1 else first


def _clear(refs: dict, *names: str, at=...):
    for name in names:
        refs[name][at] = jnp.zeros_like(refs[name][at])


def _write(refs: dict, r, **arrays):
    for name, a in arrays.items():
        refs[name][r] = a.astype(refs[name].dtype)


def _whole(blocks: list[Block]):
    """Computes short rows in one step."""
    done = iter(side_by_side([work for block in blocks for work in _gradients(block)]))
    for block in blocks:
        dq, dk, dv, *others = zip(*(next(done) for _ in block.heads), strict=True)
        relative.write_whole(block, [jnp.concatenate(part, axis=0) for part in others])
        dq = jnp.concatenate(dq, axis=0).T
        dk, dv = (sum(part[1:], part[0]) if block.narrow else jnp.concatenate(part, axis=0).T for part in (dk, dv))
        _write(block.refs, block.place.r, dq=dq, dk=dk, dv=dv)


def _add(block: Block):
    """Adds the block's share of all gradients."""
    refs, plan = block.refs, block.plan
    here = pl.ds(block.place.i * plan.q_block, plan.q_block) if plan.q_blocks > 1 else slice(None)
    for head, work in zip(block.heads, _gradients(block), strict=True):
        ((dq, dk, dv, *others),) = side_by_side([work])
        relative.add(block, head, others)
        refs["dv_sum"][head.lanes] += dv
        refs["dk_sum"][head.lanes] += dk
        refs["dq_sum"][head.lanes, here] += dq


def _gradients(block: Block) -> list[Generator]:
    """For each head the block's share of dqᵀ [H t], dkᵀ and dvᵀ [H s]; adds to the gradients of bias and shift.

    Of a narrow block dk and dv [s width] in place of their transposes, with zeros in the lanes of other heads.
    """
    plan, how, refs, r = block.plan, block.how, block.refs, block.place.r
    queries, keys = block.real_queries(), block.real_keys()
    q, y, dy = (zeroed(refs[name][r], queries) for name in ("q", "y", "dy"))
    k, v = (zeroed(refs[name][r], keys) for name in ("k", "v"))
    lse, dlse = refs["lse"][r, 0], refs["dlse"][r, 0]
    if plan.T % plan.q_block:
        inside = block.place.i * plan.q_block + iota(lse.shape, 1) < plan.T
        lse, dlse = jnp.where(inside, lse, -HIDDEN), jnp.where(inside, dlse, 0.0)
    q_t, k_t, y_t, dy_t = q.T, k.T, y.T, dy.T

    def work(head: Head):
        """The head's share, with a `yield` wherever another head's work may come between."""
        lanes, own = head.lanes, slice(head.g, head.g + 1)
        scores, slope = block.scores(head, q_t if block.narrow else None)
        d_weights = dot(v[:, lanes], dy_t[lanes], 1, 0) if block.narrow else dot(v[:, lanes], dy[:, lanes], 1, 1)
        yield
        kept = block.kept(head)
        d_weights = d_weights if kept is None else d_weights * kept
        if how.softmax.kind == "sigmoid":
            weights = sigmoid(scores + refs["shift"][head.n] * LOG2E)
            d_scores = weights * (1 - weights) * d_weights
            if "d_shift" in refs:
                _add_to_head("d_shift", head, d_scores)
        else:
            shares = weights = jnp.exp2(scores - lse[own])
            if how.softmax.kind == "clipped":
                weights, slopes = clipped(shares, how.softmax.clip)
                d_weights = d_weights * slopes
            gained = (y_t[lanes].astype(jnp.float32) * dy_t[lanes].astype(jnp.float32)).sum(0, keepdims=True)
            d_scores = shares * (d_weights - (gained - dlse[own]))
        d_scores = d_scores if slope is None else d_scores * slope
        others = []
        match how.bias.form:
            case "decay":
                _add_to_head("d_heads", head, d_scores * block.nearness())
            case "line":
                line.add_gradient(block, head.g, d_scores)
            case "relative":
                others = relative.add_gradients(block, head, d_scores)
            case "plane" if "d_plane" in refs:
                refs["d_plane"][block.plane_of(head.g)] += d_scores
        weights = (weights if kept is None else weights * kept).astype(q.dtype)
        d_scores = (d_scores * how.scale).astype(q.dtype)
        yield
        dq = dot(k_t[lanes], d_scores, 1, 0)
        if block.narrow:
            return dq, dot(d_scores, _only(q, lanes), 1, 0), dot(weights, _only(dy, lanes), 1, 0), *others
        return dq, dot(q_t[lanes], d_scores, 1, 1), dot(dy_t[lanes], weights, 1, 1), *others

    def _add_to_head(name, head: Head, d_scores):
        """Adds the sum of all d_scores to each lane of the head's row."""
        refs[name][r, 0, head.g : head.g + 1] += jnp.broadcast_to(d_scores.sum(keepdims=True), (1, LANES))

    return [work(head) for head in block.heads]


def _only(a, lanes: slice):
    """a with 0 outside of these lanes."""
    lane = iota((1, a.shape[1]), 1)
    return jnp.where((lane >= lanes.start) & (lane < lanes.stop), a, 0)


def backward_of_planes(plan: Plan, how: How, operands: dict, seen: tuple, shape: tuple[int, ...]) -> jax.Array:
    """d_plane, of this shape [#B #N S T], where rows have several blocks; seen: the result of `plan.seen`.

    A block of a plane shared by all rows is used once per row, and `backward` visits all other blocks in between. So
    this pass computes the scores again, with rows innermost: that takes two more products, and only the memory of the
    plane, where a plane for each row, summed afterwards, would take a multiple of it.
    """
    table, fixed = seen
    state = None if fixed and (table == ALL).all() else jnp.asarray(table, jnp.int32)

    def kernel(refs):
        """Adds a row's share to a block of planes."""
        i, j, column, b = (pl.program_id(axis) for axis in range(4))
        first = _first_of_planes(plan, shape[:2], column, b)
        pl.when(first)(lambda: _clear(refs, "d_plane"))

        def add(masked):
            side_by_side(_gradients(Block(plan, how, refs, BlockIndex(column, b, 0, i, j), masked)))

        here = ALL
        if state is not None:
            row = 0 if state.shape[0] == 1 else b
            here = refs["codes"][(row * plan.q_blocks + i) * plan.k_blocks + j]
        for one, masked in ((ALL, False), (SOME, True)):
            when(here, one)(lambda masked=masked: add(masked))

    codes = None if state is None else state.reshape(-1)
    outputs = dict(d_plane=jax.ShapeDtypeStruct(shape, jnp.float32))
    return call_by_planes(kernel, plan, operands, codes, outputs, "attention_backward_of_planes")["d_plane"]
