"""One call of a TPU kernel: which block of each operand a step gets, by the operand's name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ...platform import interpreted
from .ops import div, rem
from .plan import LANES, Plan, Visits

MEMORY = 48 * 2**20  # bytes of vector memory a kernel may take; the smallest chip has 64 MiB
HELD = ("of_key", "of_query", "d_of_key", "d_of_query")  # kept for a whole column: too large to be buffered twice
SCALARS = ("start", "seed", "origin", "shift")


def call(
    kernel: Callable,
    plan: Plan,
    operands: dict,
    visits: Visits | None,
    by: str,
    outputs: dict,
    scratch: dict,
    name: str,
) -> dict:
    """Runs kernel(refs by name) over the grid (column of heads, rows of the batch, outer block, inner block).

    Where the plan has parts, the first axis has the columns of each, and the second one the steps over its rows.
    by: "queries" or "keys", whose blocks are the outer ones. outputs: shape and dtype of each result, by name.
    """
    codes = {} if visits is None or visits.codes is None else {"visits": visits.codes}
    outer, inner = (plan.q_blocks, plan.k_blocks) if by == "queries" else (plan.k_blocks, plan.q_blocks)
    steps = inner if visits is None else visits.steps

    def spec(operand, shape):
        block, index = CUTS[operand](plan, shape)

        def at(column, row_block, o, step, codes=None):
            column, row_block = placed(plan, column, row_block)
            met = step if codes is None else visits.at(codes, row_block, o, step)[0]
            return index(column, row_block, *((o, met) if by == "queries" else (met, o)))

        return pl.BlockSpec(block, at, pipeline_mode=pl.Buffered(1) if operand in HELD else None)

    grid = (plan.parts * plan.columns, plan.part_blocks, outer, steps)
    walks = _walks(plan, outputs, scratch)
    return _run(kernel, grid, walks, spec, codes, operands, outputs, scratch, name)


def call_by_planes(kernel: Callable, plan: Plan, operands: dict, codes, outputs: dict, name: str) -> dict:
    """Runs kernel(refs by name) over the grid (block of queries, block of keys, column of heads, row of the batch).

    The steps that share a plane, of all rows or of all heads too, thus follow each other. codes: one number for each
    row, block of queries and block of keys, or None.
    """

    def spec(operand, shape):
        block, index = CUTS[operand](plan, shape)
        return pl.BlockSpec(block, lambda i, j, column, row, *_: index(column, row, i, j))

    grid = (plan.q_blocks, plan.k_blocks, plan.columns, plan.B)
    walks = ("parallel", "parallel", "arbitrary", "arbitrary")
    return _run(kernel, grid, walks, spec, {} if codes is None else {"codes": codes}, operands, outputs, {}, name)


def _run(kernel, grid, walks, spec, codes: dict, operands: dict, outputs: dict, scratch: dict, name: str) -> dict:
    """The results by name. spec(operand, shape): the block of it that a step gets; scalars are given whole.

    codes: at most one array, by which steps find their blocks.  walks: how several cores may share each axis of the
    grid.
    """

    def specs(arrays):
        scalars = pl.BlockSpec(memory_space=pltpu.SMEM)
        return [
            scalars if operand in SCALARS or len(a.shape) == 1 else spec(operand, a.shape)
            for operand, a in arrays.items()
        ]

    names = [*codes, *operands, *outputs, *scratch]
    run = pl.pallas_call(
        lambda *refs: kernel(dict(zip(names, refs, strict=True))),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(codes),
            grid=grid,
            in_specs=specs(operands),
            out_specs=specs(outputs),
            scratch_shapes=list(scratch.values()),
        ),
        out_shape=list(outputs.values()),
        compiler_params=pltpu.CompilerParams(dimension_semantics=walks, vmem_limit_bytes=MEMORY),
        interpret=interpreted(),
        name=name,
    )
    return dict(zip(outputs, run(*codes.values(), *operands.values()), strict=True))


def _walks(plan: Plan, outputs: dict, scratch: dict) -> tuple[str, ...]:
    """How cores may share each axis of the grid: "arbitrary" for those along which the gradient of a plane or table
    is summed, or along which the tiles that the first row laid out are read again."""
    if plan.parts > 1:
        return "parallel", "arbitrary", "arbitrary", "arbitrary"
    rows, heads = outputs["d_plane"].shape[:2] if "d_plane" in outputs else (0, 0)
    rows = 1 if {"d_of_key", "d_of_query", "tiles"} & (outputs.keys() | scratch.keys()) else rows
    return *("arbitrary" if planes == 1 else "parallel" for planes in (heads, rows)), "arbitrary", "arbitrary"


def placed(plan: Plan, column, row_block) -> tuple:
    """(column of heads, block of rows) of a step, from its indices along the first two axes of the grid.

    Where the last part has fewer blocks than the others, its last one is repeated; `rows_of` then runs nothing.
    """
    if plan.parts == 1:
        return column, row_block
    row_block += div(column, plan.columns) * plan.part_blocks
    return rem(column, plan.columns), jax.lax.min(row_block, jnp.int32(plan.row_blocks - 1))


def rows_of(plan: Plan, run: Callable) -> None:
    """Calls run([(r, b), …]) for a step's rows, `together` at a time; b is the index of row r in the batch.

    Where the last step has more rows than remain in the batch, its results for the others are not written.
    """
    column, row_block = pl.program_id(0), pl.program_id(1)
    first = placed(plan, column, row_block)[1] * plan.rows

    def group(i, _):
        run([(r := i * plan.together + d, first + r) for d in range(plan.together)])

    def groups():
        number = plan.rows // plan.together
        group(0, None) if number == 1 else jax.lax.fori_loop(0, number, group, None)

    if plan.parts * plan.part_blocks == plan.row_blocks:
        return groups()
    pl.when(div(column, plan.columns) * plan.part_blocks + row_block < plan.row_blocks)(groups)


def _of_queries(plan: Plan, shape):
    return (plan.rows, plan.q_block, plan.width), lambda c, b, i, j: (b, i, c)


def _of_keys(plan: Plan, shape):
    return (plan.rows, plan.k_block, plan.width), lambda c, b, i, j: (b, j, plan.keys_of(c))


def _of_all_queries(plan: Plan, shape):
    return (plan.rows, plan.T, plan.width), lambda c, b, i, j: (b, 0, c)


def _gradient_of_keys(plan: Plan, shape):
    return (plan.rows, plan.k_block, plan.width), lambda c, b, i, j: (b, j, c)


def _per_query(plan: Plan, shape):
    return (plan.rows, 1, plan.heads, plan.q_block), lambda c, b, i, j: (b, c, 0, i)


def _row_of_queries(plan: Plan, shape):
    return (plan.rows, 1, plan.q_block), lambda c, b, i, j: (b, 0, i)


def _row_of_keys(plan: Plan, shape):
    return (plan.rows, 1, plan.k_block), lambda c, b, i, j: (b, 0, j)


def _codes_of_queries(plan: Plan, shape):
    return (plan.rows, plan.q_block, LANES), lambda c, b, i, j: (b, i, 0)


def _codes_of_keys(plan: Plan, shape):
    return (plan.rows, plan.k_block, LANES), lambda c, b, i, j: (b, j, 0)


def _pattern(plan: Plan, shape):
    heads = 1 if shape[0] == 1 else plan.heads
    return (heads, *shape[1:]), lambda c, b, i, j: (0 if shape[0] == 1 else c, 0, 0)


def _bias(plan: Plan, shape):
    """A line for each head, or planes for one or all rows and heads; single numbers per head are in scalar memory."""
    if len(shape) == 3:
        return (plan.heads, *shape[1:]), lambda c, b, i, j: (c, 0, 0)
    rows, heads = plan.rows if shape[0] > 1 else 1, plan.heads if shape[1] > 1 else 1
    return (rows, heads, plan.k_block, plan.q_block), lambda c, b, i, j: (b * (shape[0] > 1), c * (shape[1] > 1), j, i)


def _gradient_of_bias(plan: Plan, shape):
    """The same; where the rows are in parts, planes for each part."""
    if plan.parts == 1:
        return _bias(plan, shape)
    block, index = _bias(plan, (1, *shape[1:]))
    return block, lambda c, b, i, j: (div(b, plan.part_blocks), *index(c, b, i, j)[1:])


def _relative_of_queries(plan: Plan, shape):
    return (plan.rows, plan.q_block, shape[2] // plan.columns), lambda c, b, i, j: (b, i, c)


def _relative_of_all_queries(plan: Plan, shape):
    return (plan.rows, plan.T, shape[2] // plan.columns), lambda c, b, i, j: (b, 0, c)


def _relative_of_keys(plan: Plan, shape):
    return (plan.rows, plan.k_block, shape[2] // plan.columns), lambda c, b, i, j: (b, j, c)


def _table(plan: Plan, shape):
    return (1, *shape[1:]), lambda c, b, i, j: (c, 0, 0)


def _of_column(plan: Plan, shape):
    return (plan.rows, 1, *shape[2:]), lambda c, b, i, j: (b, c, *(0 for _ in shape[2:]))


# For each operand and result: the shape of its block, and the index of the block for (column, rows, queries, keys).
CUTS = {
    "q": _of_queries,
    "y": _of_queries,
    "sloped": _of_queries,
    "dy": _of_queries,
    "dq": _of_all_queries,
    "k": _of_keys,
    "v": _of_keys,
    "dk": _gradient_of_keys,
    "dv": _gradient_of_keys,
    "lse": _per_query,
    "dlse": _per_query,
    "q_segments": _row_of_queries,
    "k_segments": _row_of_keys,
    "q_codes": _codes_of_queries,
    "k_codes": _codes_of_keys,
    "q_everyone": _row_of_queries,
    "k_everyone": _row_of_keys,
    "prefix": _row_of_keys,
    "pattern": _pattern,
    "bias": _bias,
    "d_plane": _gradient_of_bias,
    "relative_q": _relative_of_queries,
    "relative_k": _relative_of_keys,
    "d_relative_q": _relative_of_all_queries,
    "d_relative_k": _relative_of_keys,
    "of_key": _table,
    "of_query": _table,
    "d_of_key": _table,
    "d_of_query": _table,
    "d_line": _of_column,
    "d_heads": _of_column,
    "d_shift": _of_column,
}
