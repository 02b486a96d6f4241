"""The description of a Hopper kernel of attention: by name, what its tiles keep and what passes by them.

Which part of an array a copy fetches, how much shared memory there is, and how often each barrier is arrived at, follow
from the names alone.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ... import mosaic_gpu as gpu
from .plan import ALIGN, ROWS, Call, Tiling

# The axes of arrays in device memory: row of the batch, query, key, head of queries, head of keys. An array
# with a fourth axis is a matrix in shared memory, the others are vectors. The bias, "wide", has a rule of its own
# (`Kernel.part`).
AXES = {
    **dict.fromkeys(("q", "do", "y", "dq"), "btnh"),
    **dict.fromkeys(("k", "v", "dk", "dv"), "bskh"),
    **dict.fromkeys(("lse", "delta"), "bnt"),
    **dict(q_ids="bt", k_ids="bs"),
}


class TileIndex(NamedTuple):
    """The index of a tile or of a block of scores, in numbers that are known when the kernel runs."""

    b: jax.Array | None
    n: jax.Array | None  # None for a tile that visits the queries of several heads
    k: jax.Array
    row: jax.Array | None  # the first row
    column: jax.Array | None = None
    whole: jax.Array | None = None  # whether nothing in the block is masked


class Tile(NamedTuple):
    """block(number) -> its index and whether it is visited (None for always), for each of `count` blocks."""

    index: jax.Array
    place: TileIndex
    count: jax.Array
    block: Callable

    def visit(self, one: Callable, met, carry):
        """(met, carry) after one(number, met, place, carry) -> carry for each visited block, `met` others before it."""

        def step(number, state):
            place, visited = self.block(number)

            def visit(state):
                met, carry = state
                return met + 1, one(number, met, place, carry)

            return visit(state) if visited is None else lax.cond(visited, visit, lambda state: state, state)

        return lax.fori_loop(0, self.count, step, (met, carry))


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel, described by the names of its operands; those that are not in `arrays` are left out.

    rows: "t" or "s", whether queries or keys run along the rows of its blocks of scores. keeps: operands that a tile
    holds from its first block to its last, in groups that are fetched and freed together. passes: those of each block.
    results: name -> the operand whose shared memory it is copied out from, None if it has its own.
    """

    name: str
    plan: Call
    tiling: Tiling
    arrays: dict[str, jax.Array]
    rows: str
    keeps: tuple[tuple[str, ...], ...]
    passes: tuple[tuple[str, ...], ...]
    results: dict[str, str | None] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of a worker's block of scores."""
        return ROWS, self.tiling.columns

    def present(self, groups: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
        """The groups of operands without those that `arrays` lacks."""
        return [tuple(name for name in names if name in self.arrays) for names in groups]

    def own(self, name: str) -> bool:
        """Whether each worker has its own part, that of its rows."""
        return name == "wide" or self.rows in AXES[name]

    def part(self, refs, name: str, place: TileIndex, worker=0):
        """The part of an array in device memory for a block of scores, or for a worker's rows of it."""
        row = place.row + worker * ROWS
        if name == "wide":
            return self._bias(refs.wide, place, row)

        def along(axis):
            if axis not in "ts":
                return getattr(place, axis)
            return gpu.ds(row, ROWS) if axis == self.rows else gpu.ds(place.column, self.tiling.columns)

        return getattr(refs, name).at[tuple(along(axis) for axis in AXES[name][:3])]

    def _bias(self, wide, place, row):
        """The part of a bias (times log2 e), given as [B|1, N|1, rows, columns] or as a skewed line (`blocks.skew`)."""
        columns = self.tiling.columns
        if self.plan.bias == "dense":
            b, n = (at if size > 1 else jnp.int32(0) for at, size in zip(place[:2], wide.shape[:2], strict=True))
            return wide.at[b, n, gpu.ds(row, ROWS), gpu.ds(place.column, columns)]
        length = self.plan.lengths["st".index(self.rows)]  # of the axis along the columns
        middle = wide.shape[2] - -(-length // ALIGN) * ALIGN
        return wide.at[place.n, :, gpu.ds(place.column - row + middle, columns)]

    def scratch(self) -> dict:
        """Shared memory for operands and results, and two barriers, filled and freed, for each slot of a group."""
        workers, slots, found = self.tiling.workers, self.tiling.slots, {}
        groups = [(names, slots) for names in self.present(self.keeps)]
        groups += [(names, self.tiling.stages) for names in self.present(self.passes)]
        for names, depth in groups:
            for name in names:
                ends = self.shape[1:] if name == "wide" else self.arrays[name].shape[3:]
                part = (workers, ROWS) if self.own(name) else (self.tiling.columns,)
                shape, dtype = (depth, *part, *ends), self.arrays[name].dtype
                swizzle = min(128, 2 * self.tiling.columns)  # products sum over columns
                found[f"near_{name}"] = gpu.matrices(shape, dtype, swizzle) if ends else gpu.vectors(shape, dtype)
            found[f"{names[0]}_ready"] = gpu.barriers(depth, sum(workers if self.own(name) else 1 for name in names))
            found[f"{names[0]}_free"] = gpu.barriers(depth, workers)
        for name in (name for name, place in self.results.items() if place is None):
            found[f"near_{name}"] = gpu.vectors((slots, workers, ROWS), jnp.float32)
        return found


def by_rows(kernel: Kernel) -> tuple[int, Callable]:
    """(number of tiles, tile_at) for tiles of one head's rows that visit the blocks of their span, for each head.

    Where keys are along the rows, a tile visits the query heads that share its head of keys one after the other.
    """
    plan, tiling, side = kernel.plan, kernel.tiling, "ts".index(kernel.rows)
    heads, parts = plan.heads[side], -(-plan.lengths[side] // tiling.rows)
    repeats = plan.group if kernel.rows == "s" else 1

    def tile_at(refs, index):
        """The tile of this index."""
        b, head, i = unravel(index, heads, parts)
        first, whole, ragged, last = span(refs, b, i)
        n = head if kernel.rows == "t" else head * plan.group
        k = lax.div(head, jnp.int32(plan.group)) if kernel.rows == "t" else head
        tile = TileIndex(b, n, k, i * tiling.rows)

        def block(number):
            turn, j = (lax.div(number, last - first), lax.rem(number, last - first)) if repeats > 1 else (0, number)
            j = first + j
            place = tile._replace(n=n + turn, column=j * tiling.columns, whole=(j >= whole) & (j < ragged))
            return place, None

        return Tile(index, tile._replace(n=n if repeats == 1 else None), repeats * (last - first), block)

    return kernel.arrays["k"].shape[0] * heads * parts, tile_at


def span(refs, b, i):
    """[first, last) and the part of it without masked scores, [whole, ragged), of block i of row b."""
    row = b if refs.spans.shape[0] > 1 else jnp.int32(0)
    return tuple(refs.spans[row, i, column] for column in range(4))


def unravel(index, *sizes: int):
    """The indices on axes of which all but the first have these sizes, the last index moving fastest."""
    found = []
    for size in reversed(sizes):
        found.append(lax.rem(index, jnp.int32(size)))
        index = lax.div(index, jnp.int32(size))
    return index, *reversed(found)
