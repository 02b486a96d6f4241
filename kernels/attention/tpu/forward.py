"""The forward pass on TPU: values, and the logarithm of the denominator of the weights.

Flash attention (Dao et al. 2022; Dao 2023) with two changes for the TPU's units.

Scores have keys along sublanes, and values are summed as oᵀ = vᵀ p with the weights as the matrix unit's stationary
operand: H rows pass each tile of weights, whereas o = p v would pass all its rows and leave 128 - H of 128 columns
empty.

Weights are relative to the greatest score known *before* the block, not to that of the block, so that no score has to
wait in memory for the last one: the block's own maximum is found meanwhile and becomes the next block's reference.
Where the two differ by more than RANGE powers of two, float32 does not suffice, and the block is repeated with the new
reference.

Clipped weights need the whole denominator: a row of several blocks is then computed twice, first for the denominators
alone and then for the values, with weights that are independent of each other.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from . import coding, line
from .block import HIDDEN, LOG2E, Block, BlockIndex, Head, How
from .call import call, rows_of
from .ops import clipped, dot, side_by_side, sigmoid, when
from .plan import ALL, SOME, Plan, Visits

RANGE = 60.0  # 2^60 times a thousand keys is far from float32's end on both sides


def forward(plan: Plan, how: How, operands: dict, visits: Visits | None, sloped: bool = False) -> dict:
    """y [B T N·H] in q's dtype and lse [B N/heads heads T] in base 2, -inf for a query that attends to nothing.

    sloped: for clipped weights also "sloped", the sum of the values with share times slope as weights, whose product
    with y's gradient enters the gradients of all scores of a query.
    """
    lanes = coding.taken(plan.H, how.coding.codes, how.coding.folded)
    scratch = dict(
        stationary=pltpu.VMEM((plan.heads, lanes, plan.q_block), operands["q"].dtype),
        reference=pltpu.VMEM((plan.heads, plan.q_block), jnp.float32),
        total=pltpu.VMEM((plan.heads, plan.q_block), jnp.float32),
        gathered=pltpu.VMEM((plan.width, plan.q_block), jnp.float32),
    )
    outputs = dict(
        y=jax.ShapeDtypeStruct((plan.B, plan.T, plan.N * plan.H), operands["q"].dtype),
        lse=jax.ShapeDtypeStruct((plan.B, plan.columns, plan.heads, plan.T), jnp.float32),
    )
    if sloped:
        outputs["sloped"], scratch["gathered_sloped"] = outputs["y"], scratch["gathered"]
    if how.bias.form == "line":
        scratch |= line.kept(plan)
    known, name = {}, "attention_forward"
    if how.softmax.kind == "denominator":
        del outputs["y"], scratch["gathered"]
        name = "attention_denominator"
    elif how.softmax.kind == "clipped" and not plan.short:
        del outputs["lse"]
        known = forward(
            plan,
            dataclasses.replace(how, softmax=dataclasses.replace(how.softmax, kind="denominator")),
            operands,
            visits,
        )
        operands = operands | dict(lse=jnp.where(known["lse"] == -jnp.inf, -HIDDEN, known["lse"]))
    kernel = functools.partial(_kernel, plan, how, visits)
    return known | call(kernel, plan, operands, visits, "queries", outputs, scratch, name)


def _kernel(plan: Plan, how: How, visits: Visits | None, refs: dict):
    column, row_block, i, step = (pl.program_id(axis) for axis in range(4))
    if "tiles" in refs:
        pl.when((row_block == 0) & (i == 0) & (step == 0))(lambda: line.lay_out(plan, refs))

    def block(r, b, j, masked):
        return Block(plan, how, refs, BlockIndex(column, b, r, i, j), masked)

    def rows(rows):
        """Computes a step's rows [(r, b), …] at its block of queries and of keys."""
        if plan.short:
            return _whole([block(r, b, 0, visits is not None) for r, b in rows])
        ((r, b),) = rows
        j, state = (step, ALL) if visits is None else visits.at(refs.get("visits"), b, i, step)

        @pl.when(step == 0)
        def _():
            for name in ("reference", "total", "gathered", "gathered_sloped"):
                if name in refs:
                    refs[name][...] = jnp.zeros_like(refs[name])
            _lay_out_queries(block(r, b, 0, True))

        gather = dict(sigmoid=_gather_sigmoid, clipped=_gather_clipped).get(how.softmax.kind, _gather)
        for one, masked in ((ALL, False), (SOME, True)):
            when(state, one)(lambda masked=masked: gather(block(r, b, j, masked)))

        @pl.when(step == pl.num_programs(3) - 1)
        def _():
            _finish(plan, how, refs, r)

    rows_of(plan, rows)


def _whole(blocks: list[Block]):
    """Computes short rows in one step: a head's scores about fit the registers, so the maximum costs little."""

    def work(block: Block, head: Head):
        """The head's values and logarithms, with a `yield` wherever another head's work may come between."""
        scores = block.scores(head, queries[block])[0]
        yield
        if block.how.softmax.kind == "sigmoid":
            weights = sigmoid(scores + block.refs["shift"][head.n] * LOG2E)
            yield
            return _gathered(block, head, weights, values[block]), jnp.zeros_like(scores[:1])
        top = scores.max(0, keepdims=True)
        seen = top > HIDDEN / 2  # all weights of a query that attends to nothing are 0
        weights = jnp.exp2(scores - jnp.where(seen, top, -HIDDEN))
        total = weights.sum(0, keepdims=True)
        yield
        lse = jnp.where(seen, top + jnp.log2(total), -jnp.inf)
        if block.how.softmax.kind == "clipped":
            shares = weights / jnp.where(seen, total, 1.0)
            weights, slopes = clipped(shares, block.how.softmax.clip)
            found = _gathered(block, head, weights, values[block]), lse
            yield
            return (*found, _gathered(block, head, shares * slopes, values[block])) if "sloped" in block.refs else found
        gathered = _gathered(block, head, weights, values[block])
        yield
        return gathered / jnp.where(seen, total, 1.0), lse

    values = {block: block.values() for block in blocks}
    values = {block: v.T if block.tiny else v for block, v in values.items()}
    queries = {block: block.coded("q")[0].T if block.tiny else None for block in blocks}
    done = iter(side_by_side([work(block, head) for block in blocks for head in block.heads]))
    for block in blocks:
        parts = zip(*(next(done) for _ in block.heads), strict=True)
        y, lse, *sloped = (jnp.concatenate(part, axis=0) for part in parts)
        for a in sloped:
            block.refs["sloped"][block.place.r] = a.T.astype(block.refs["sloped"].dtype)
        block.refs["y"][block.place.r] = y.T.astype(block.refs["y"].dtype)
        block.refs["lse"][block.place.r, 0] = lse


def _gather(block: Block):
    """Adds the block's weighted values to the sums of the queries, or its weights alone to the denominators."""
    refs, valued = block.refs, block.how.softmax.kind == "softmax"
    v = block.values() if valued else None

    def attempt(_):
        """Adds all heads with the current references; returns whether one was too far off, so nothing was added."""
        found, missed = [], []
        for head in block.heads:
            own = slice(head.g, head.g + 1)
            before, total = refs["reference"][own], refs["total"][own]
            scores = _beyond(block, head, before)
            weights = jnp.exp2(scores)
            top = scores.max(0, keepdims=True) + before
            first, some = total == 0, top > HIDDEN / 2
            after = jnp.where(some, jnp.where(first, top, jnp.maximum(before, top)), before)
            missed.append((after - before > RANGE) | (first & (after - before < -RANGE)))
            values = _gathered(block, head, weights, v) if valued else None
            found.append((first, before, after, weights.sum(0, keepdims=True), values))
        again = functools.reduce(jnp.logical_or, missed)
        again = jnp.max(again.astype(jnp.float32)) > 0
        for head, (first, before, after, total, values) in zip(block.heads, found, strict=True):
            own = slice(head.g, head.g + 1)
            shrink = jnp.where(first & again, 1.0, jnp.exp2(before - after))
            refs["reference"][own] = after
            refs["total"][own] = (refs["total"][own] + jnp.where(again, 0.0, total)) * shrink
            if valued:
                refs["gathered"][head.lanes] = (refs["gathered"][head.lanes] + jnp.where(again, 0.0, values)) * shrink
        return again

    jax.lax.while_loop(lambda again: again, attempt, jnp.bool_(True))


def _lay_out_queries(block: Block):
    """Lays out a block of queries as the matrix unit multiplies all keys by it."""
    for head in block.heads:
        if block.how.coding.folded:
            laid = coding.folded_queries(*block.coded("q"), head.lanes, block.how.scale * LOG2E)
        else:
            laid = block.met("q", head.lanes)
        block.refs["stationary"][head.g] = laid.T


def _scores(block: Block, head: Head):
    """The scores [s t]."""
    products = dot(block.met("k", head.lanes), block.refs["stationary"][head.g], 1, 0)
    return block.finished(products * (block.how.scale * LOG2E), head)[0]


def _beyond(block: Block, head: Head, reference):
    """[s t]: scores minus the reference [1 t]."""
    if not block.how.coding.folded:
        return _scores(block, head) - reference
    queries, at = block.refs["stationary"], coding.rows_of_reference(head.lanes)
    left = 1.0 if coding.scales(head.lanes) else block.how.scale * LOG2E
    queries[head.g, at] = coding.reference_rows(reference / left, queries.dtype)
    products = dot(coding.folded_keys(*block.coded("k"), head.lanes), queries[head.g], 1, 0)
    return block.finished(products if left == 1.0 else products * left, head)[0]


def _gather_sigmoid(block: Block):
    """The same as `_gather` for weights that are independent of each other."""
    refs, v = block.refs, block.values()
    for head in block.heads:
        weights = sigmoid(_scores(block, head) + refs["shift"][head.n] * LOG2E)
        refs["gathered"][head.lanes] += _gathered(block, head, weights, v)


def _gather_clipped(block: Block):
    """The same for clipped weights, whose denominator is known, and for the values weighted by their slopes."""
    refs, v = block.refs, block.values()
    for head in block.heads:
        shares = jnp.exp2(_scores(block, head) - refs["lse"][block.place.r, 0, head.g : head.g + 1])
        weights, slopes = clipped(shares, block.how.softmax.clip)
        refs["gathered"][head.lanes] += _gathered(block, head, weights, v)
        if "sloped" in refs:
            refs["gathered_sloped"][head.lanes] += _gathered(block, head, shares * slopes, v)


def _gathered(block: Block, head: Head, weights, v):
    """vᵀ · weights [H t], after dropout.  v: [s width], vᵀ of a tiny row."""
    kept = block.kept(head)
    weights = weights if kept is None else weights * kept
    own = v[head.lanes] if block.tiny else v[:, head.lanes].T
    return dot(own, weights.astype(v.dtype), 1, 0)


def _finish(plan: Plan, how: How, refs: dict, r):
    """Writes the results of a block of queries after all keys."""
    if how.softmax.kind == "clipped":
        refs["y"][r] = refs["gathered"][...].T.astype(refs["y"].dtype)
        if "sloped" in refs:
            refs["sloped"][r] = refs["gathered_sloped"][...].T.astype(refs["sloped"].dtype)
        return
    total = refs["total"][...]
    real = refs["q_segments"][r] > 0 if how.coding.codes else None  # codes mask nothing for queries in padding
    total = total if real is None else jnp.where(real, total, 0.0)
    if how.softmax.kind == "denominator":
        refs["lse"][r, 0] = jnp.where(total == 0, -jnp.inf, refs["reference"][...] + jnp.log2(total))
        return
    gathered = refs["gathered"][...]
    gathered = gathered if real is None else jnp.where(real, gathered, 0.0)
    if how.softmax.kind == "softmax":
        share = jnp.broadcast_to(1 / jnp.where(total == 0, 1.0, total)[:, None], (plan.heads, plan.H, plan.q_block))
        gathered = gathered * share.reshape(plan.width, plan.q_block)
        refs["lse"][r, 0] = jnp.where(total == 0, -jnp.inf, refs["reference"][...] + jnp.log2(total))
    else:
        refs["lse"][r, 0] = jnp.zeros_like(total)
    refs["y"][r] = gathered.T.astype(refs["y"].dtype)
