"""What the Hopper kernels of attention have in common.

In every kernel one warpgroup only copies (TMA) and the others only compute (wgmma), after Shah et al. 2024
(FlashAttention-3), sections 3.1 and 3.2. A thread block walks over tiles of its own output: with as many blocks as
tiles it has one; with one block per multiprocessor, copies for the next tile run while this one ends, which is what
short rows need. Scores live in base 2: exp2 is what the machine has.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .. import mosaic_gpu as gpu

LOG2E = math.log2(math.e)
ALIGN = 256  # lengths of vectors and of biases are padded to this, so that any block size divides them


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is known of a call before its arrays are: each plan is one compiled kernel."""

    lengths: tuple[int, int]  # T, S
    heads: tuple[int, int]  # N, K
    width: int  # H: 64, 128 or 256
    scale: float
    causal: bool = False
    before: int | None = None
    after: int | None = None
    marks: bool = False  # segments or a prefix, as ids of queries and keys
    offset: bool = False
    bias: str | None = None  # "slopes", "line" (of key - query) or "dense"
    cap: float | None = None
    dropout: float = 0.0

    @property
    def work(self) -> int:
        """How much is computed of each score beside its softmax, which takes registers."""
        return (self.bias is not None) + (self.cap is not None) + (self.dropout > 0)

    @property
    def group(self) -> int:
        return self.heads[0] // self.heads[1]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How a kernel is cut: workers compute 64 rows each; they meet `columns` of the other side at a time."""

    workers: int
    columns: int
    stages: int  # of the walk's operands in shared memory
    slots: int  # of a tile's own operands; 2 or more if a thread block walks over many tiles
    blocks: int | None  # thread blocks; None: one per tile
    turns: bool = False  # two workers alternate between matrix products and the rest (FlashAttention-3, section 3.1)

    @property
    def rows(self) -> int:
        return self.workers * gpu.ROWS


def setting(plan, refs):
    """The first query's index in the row of keys."""
    return refs.offset[0] if plan.offset else jnp.int32(0)


class Places:
    """The indices of a block's queries and keys in the row, and their marks, each made where it is used: made early,
    they would fill registers."""

    def __init__(self, plan, query: Callable, key: Callable, q_marks: Callable, k_marks: Callable):
        self.plan, self._query, self._key, self._q_marks, self._k_marks = plan, query, key, q_marks, k_marks

    def query(self):
        return self._query()

    def key(self):
        return self._key()

    def ahead(self):
        return self._key() - self._query()

    def hide(self, x):
        """-inf in place of the scores that are not visible, one rule after the other: it takes the fewest registers."""
        plan = self.plan
        key = self._key()
        rules = [key < plan.lengths[1]]
        if plan.marks:
            k_marks = self._k_marks()
            rules.append(self._q_marks() == lax.shift_right_logical(k_marks, jnp.full_like(k_marks, 1)))
        if plan.causal or plan.before is not None or plan.after is not None:
            ahead = key - self._query()
            if plan.causal:
                rules.append((ahead <= 0) | ((k_marks & 1) == 1) if plan.marks else ahead <= 0)
            if plan.before is not None:
                rules.append(ahead >= -plan.before)
            if plan.after is not None:
                rules.append(ahead <= plan.after)
        return functools.reduce(lambda x, rule: jnp.where(rule, x, -jnp.inf), rules, x)

    def kept(self, seed, b, n):
        """Dropout.keep of the block (dropout.py), its words taken as signed: products and exclusive or agree."""
        head = _mix(_mix(seed + b) + n)
        bits = _mix(_mix(head + self._query() * _i32(0x9E3779B9)) + self._key() * _i32(0x85EBCA77))
        threshold = min(int(self.plan.dropout * 2**32), 2**32 - 1)
        return (bits ^ _i32(0x80000000)) >= _i32(threshold ^ 0x80000000)  # as if unsigned


def logits(plan, products, places, slope, wide):
    """Scores (x, factor), x · factor in base 2, and d score / d (scale · q·k), None if that is 1.

    slope and wide come with log2 e multiplied in. The factor is left for the exponential, where it costs nothing.
    """
    factor = plan.scale * LOG2E
    if plan.bias is None and plan.cap is None:
        return products, factor, None
    x = products * factor
    if plan.bias == "slopes":
        x = x - slope * jnp.abs(places.ahead()).astype(jnp.float32)
    elif plan.bias is not None:
        x = x + wide
    if plan.cap is None:
        return x, 1.0, None
    # tanh by exp2, since the machine's own is good to 11 bits only; e = inf gives 1, e = 0 gives -1.
    turned = 1.0 - 2.0 / (jnp.exp2(x * (2.0 / plan.cap)) + 1.0)
    return turned * (plan.cap * LOG2E), 1.0, 1.0 - turned * turned


def _i32(number: int):
    return jnp.int32(number - 2**32 if number >= 2**31 else number)


def _mix(h):
    """Dropout's finaliser (dropout.py)."""
    h = (h ^ lax.shift_right_logical(h, jnp.full_like(h, 16))) * _i32(0x85EBCA6B)
    h = (h ^ lax.shift_right_logical(h, jnp.full_like(h, 13))) * _i32(0xC2B2AE35)
    return h ^ lax.shift_right_logical(h, jnp.full_like(h, 16))


def walk(blocks, tiles, one, carry):
    """one(turn, tile, carry) for each tile of this thread block -> how many there were, and the last carry."""
    first = gpu.place("block")
    turns = lax.div(tiles - first + (blocks - 1), jnp.int32(blocks))
    return turns, lax.fori_loop(0, turns, lambda turn, carry: one(turn, first + turn * blocks, carry), carry)


def _slot(number, of: int):
    return lax.rem(number, jnp.int32(of))


def _registers(workers: int, width: int) -> tuple[int, int] | None:
    """Registers per thread of a worker and of the copier, out of 65,536; None where a thread can have all it names."""
    return {1: None, 2: (232, 40) if width == 64 else (240, 24), 3: (160, 32)}[workers]


class Turns:
    """Lets two workers take turns at the tensor cores: one multiplies while the other does its exponentials.

    Each tile begins and ends in step. Were the first worker let into a later tile while the other is still in its turn,
    it could wait for keys that the copier holds back until the other hands back its slot (`Resident.release`).
    """

    def __init__(self, tiling, barrier, worker):
        self.on, self.barrier, self.worker = tiling.turns and tiling.workers == 2, barrier, worker

    def arrive(self):
        if self.on:
            gpu.arrive(self.barrier)

    def wait(self):
        if self.on:
            gpu.wait(self.barrier)

    def swap(self):
        self.arrive()
        self.wait()

    def begin(self):
        if self.on:
            gpu.when(self.worker == 1)(self.swap)

    def end(self):
        if self.on:
            gpu.when(self.worker == 0)(self.swap)


class Resident:
    """Operands that a tile keeps: the copier fills slots ahead, each worker waits for its part and hands it back."""

    def __init__(self, tiling, ready, free):
        self.tiling, self.ready, self.free = tiling, ready, free

    def _at(self, turn, worker):
        return _slot(turn, self.tiling.slots) * self.tiling.workers + worker

    def fill(self, turn, worker, fetch):
        """Copier: fetch(slot, barrier) once the worker is done with what the slot held."""
        at = self._at(turn, worker)
        gpu.when(turn >= self.tiling.slots)(lambda: gpu.wait(self.free.at[at]))
        fetch(_slot(turn, self.tiling.slots), self.ready.at[at])

    def drain(self, turns):
        """Copier, at the end of a simulation: sees what was handed back and not filled again, which it insists on."""
        for back in range(2, self.tiling.slots + 1) if gpu.interpreted() else ():
            for worker in range(self.tiling.workers):
                at = self._at(jnp.maximum(turns - back, 0), worker)
                gpu.when(turns >= back)(lambda at=at: gpu.wait(self.free.at[at]))

    def take(self, turn, worker):
        gpu.wait(self.ready.at[self._at(turn, worker)])
        return _slot(turn, self.tiling.slots)

    def release(self, when, turn, worker):
        """Hands back what held the results of an earlier tile, once they have left. To be called after the first
        product of the next tile: earlier would be waiting, and later would let the copier, which fills the workers'
        slots in order, wait for one worker while the other needs its next keys before it can let that one go on."""
        if self.tiling.slots > 1:

            @gpu.when(when)
            def _():
                gpu.sent()
                gpu.arrive(self.free.at[self._at(turn, worker)])


class Ring:
    """Operands that pass by: `count` steps were taken before; every worker hands each one back."""

    def __init__(self, tiling, ready, free):
        self.stages, self.ready, self.free = tiling.stages, ready, free

    def fill(self, count, fetch):
        slot = _slot(count, self.stages)
        gpu.when(count >= self.stages)(lambda: gpu.wait(self.free.at[slot]))
        fetch(slot, self.ready.at[slot])

    def drain(self, count):
        """Copier, at the end of a simulation: sees what was handed back and not filled again, which it insists on."""
        for slot in range(self.stages) if gpu.interpreted() else ():
            gpu.when(slot < count)(lambda slot=slot: gpu.wait(self.free.at[slot]))

    def take(self, count):
        slot = _slot(count, self.stages)
        gpu.wait(self.ready.at[slot])
        return slot

    def give_back(self, count):
        gpu.arrive(self.free.at[_slot(count, self.stages)])


def run(name, plan, tiling, inputs, outputs, scratch, tiles, compute, copy):
    """Launches a kernel of tiling.workers warpgroups that compute(refs, worker, blocks) and one that copy(refs)s."""
    blocks = min(tiling.blocks or tiles, tiles)
    budget = _registers(tiling.workers, plan.width)

    def body(refs):
        worker = gpu.place()

        @gpu.when(worker < tiling.workers)
        def _():
            if budget is not None:
                gpu.registers(budget[0], "increase")
            compute(refs, worker, blocks)

        @gpu.when(worker == tiling.workers)
        def _():
            if budget is not None:
                gpu.registers(budget[1], "decrease")
            copy(refs, blocks)

    body.__name__ = name
    inputs = {key: value for key, value in inputs.items() if value is not None}
    return gpu.launch(body, inputs, outputs, scratch, grid={"block": blocks}, warpgroups=tiling.workers + 1)


def span(refs, b, i):
    """[first, last) and the part of it without hidden scores, of block i of row b."""
    row = b if refs.spans.shape[0] > 1 else jnp.int32(0)
    return tuple(refs.spans[row, i, column] for column in range(4))


def unravel(tile, sizes):
    """The indices of a tile, the last one moving fastest."""
    indices = []
    for size in reversed(sizes):
        indices.append(lax.rem(tile, jnp.int32(size)))
        tile = lax.div(tile, jnp.int32(size))
    return tuple(reversed(indices))


def wide_slice(plan, refs, b, n, row, column, rows, columns, queries: str):
    """The part of a bias array (log2 e in it) for a block of scores; queries: which side they are on, "rows" or
    "columns"."""
    if plan.bias == "dense":
        b = b if refs.wide.shape[0] > 1 else jnp.int32(0)
        n = n if refs.wide.shape[1] > 1 else jnp.int32(0)
        return refs.wide.at[b, n, gpu.ds(row, rows), gpu.ds(column, columns)]
    shift = refs.wide.shape[2] - _columns_of(plan, queries)
    return refs.wide.at[n, :, gpu.ds(column - row + shift, columns)]


def _columns_of(plan, queries):
    """Padded length of the side that runs along the columns."""
    return -(-plan.lengths[1 if queries == "rows" else 0] // ALIGN) * ALIGN


def head_numbers(plan, refs, n):
    """slope of head n (log2 e in it) and dropout's seed, where they exist."""
    slope = refs.slopes[n] if plan.bias == "slopes" else None
    seed = refs.seed[0] if plan.dropout else None
    return slope, seed
