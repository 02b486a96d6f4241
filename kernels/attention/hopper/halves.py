"""The two halves of every Hopper kernel of attention: one copies, the other computes, and slots pass between them.

One warpgroup only copies (TMA) and the others, the workers, only compute (wgmma), after Shah et al. 2024
(FlashAttention-3), sections 3.1 and 3.2. A thread block computes tiles of the output one after the other. With as many
blocks as tiles it has one tile; with one block per multiprocessor, copies for the next tile run while the current one
ends, which is faster for short rows.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from ... import mosaic_gpu as gpu
from .kernel import AXES, Kernel, Tile, TileIndex
from .plan import ROWS


def launch(kernel: Kernel, tiles: int, tile_at: Callable, compute: Callable, outputs: dict, **scratch) -> dict:
    """The outputs, after compute(task) has run on every worker for each of the tiles, tile_at(refs, index)."""
    workers, blocks = kernel.tiling.workers, min(kernel.tiling.blocks or tiles, tiles)
    budget = _registers(workers, kernel.plan.width)

    def for_each_tile(refs, one):
        """Runs one(turn, tile, met) -> met for each tile; met is the number of blocks visited in all tiles so far."""
        first = gpu.place("block")
        turns = lax.div(tiles - first + (blocks - 1), jnp.int32(blocks))
        met = lax.fori_loop(
            0, turns, lambda turn, met: one(turn, tile_at(refs, first + turn * blocks), met), jnp.int32(0)
        )
        return turns, met

    def body(refs):
        """What every warpgroup runs: the last one copies, the others compute."""
        number = gpu.place()

        @gpu.when(number < workers)
        def _():
            if budget is not None:
                gpu.registers(budget[0], "increase")
            worker = Worker(kernel, refs, number)
            turns, _ = for_each_tile(refs, lambda *at: worker.work(compute, *at))
            worker.end(turns)

        @gpu.when(number == workers)
        def _():
            if budget is not None:
                gpu.registers(budget[1], "decrease")
            copier = Copier(kernel, refs)
            copier.end(*for_each_tile(refs, copier.copy))

    body.__name__ = kernel.name
    scratch = kernel.scratch() | scratch
    return gpu.launch(body, kernel.arrays, outputs, scratch, grid={"block": blocks}, warpgroups=workers + 1)


def _registers(workers: int, width: int) -> tuple[int, int] | None:
    """Registers per thread of a worker and of the copier, out of 65,536; None where no limit is needed."""
    return {1: None, 2: (232, 40) if width == 64 else (240, 24), 3: (160, 32)}[workers]


class Ring:
    """A group of operands between the copier and the workers: slots filled in turn, each freed by every worker."""

    def __init__(self, kernel: Kernel, refs, names: tuple[str, ...], slots: int):
        self.kernel, self.refs, self.names, self.slots = kernel, refs, names, slots
        self.ready, self.free = (getattr(refs, f"{names[0]}_{when}") for when in ("ready", "free"))
        # Operands that are no factors of a product are read by ordinary loads.
        self.loads = any(name == "wide" or len(AXES[name]) < 4 for name in names)

    def _slot(self, count):
        return lax.rem(count, jnp.int32(self.slots))

    def near(self, slot, worker) -> dict[str, object]:
        """The operands in shared memory by name, those of one worker where each has its own."""
        found = {name: getattr(self.refs, f"near_{name}") for name in self.names}
        return {name: ref.at[slot, worker] if self.kernel.own(name) else ref.at[slot] for name, ref in found.items()}

    def fill(self, count, place: TileIndex):
        """Copier: fetches the operands at this index, once the workers have freed the slot."""
        slot = self._slot(count)
        gpu.when(count >= self.slots)(lambda: gpu.wait(self.free.at[slot]))
        for name in self.names:
            for worker in range(self.kernel.tiling.workers if self.kernel.own(name) else 1):
                part = self.kernel.part(self.refs, name, place, worker)
                gpu.fetch(part, self.near(slot, worker)[name], self.ready.at[slot])

    def drain(self, count):
        """Copier, at the end of a simulation, which requires it: waits for slots freed and not filled again."""
        for slot in range(self.slots) if gpu.interpreted() else ():
            gpu.when(slot < count)(lambda slot=slot: gpu.wait(self.free.at[slot]))

    def take(self, count, worker) -> dict[str, object]:
        """Worker: the operands, once they have arrived."""
        slot = self._slot(count)
        gpu.wait(self.ready.at[slot])
        return self.near(slot, worker)

    def give_back(self, count):
        """Worker: frees the slot."""
        if self.loads:
            gpu.publish()  # ordinary loads are done before the copy engine overwrites what they read
        gpu.arrive(self.free.at[self._slot(count)])


class Half:
    """Abstract base: what the copier and the workers both know about their kernel."""

    def __init__(self, kernel: Kernel, refs):
        self.kernel, self.refs = kernel, refs
        self.kept = [Ring(kernel, refs, names, kernel.tiling.slots) for names in kernel.present(kernel.keeps)]
        self.passing = [Ring(kernel, refs, names, kernel.tiling.stages) for names in kernel.present(kernel.passes)]


class Copier(Half):
    """The warpgroup that fetches the operands in the order in which the workers take them."""

    def copy(self, turn, tile: Tile, met):
        """Fetches a tile's operands and those of its blocks; returns the number of blocks visited so far."""
        for ring in self.kept:
            ring.fill(turn, tile.place)

        def one(number, met, place, carry):
            for ring in self.passing:
                ring.fill(met, place)
            return carry

        return tile.visit(one, met, ())[0]

    def end(self, turns, met):
        for ring in self.kept:
            ring.drain(turns)
        for ring in self.passing:
            ring.drain(met)


class Worker(Half):
    """One of the warpgroups that compute, with the numbers that are the same for the whole call."""

    def __init__(self, kernel: Kernel, refs, number):
        super().__init__(kernel, refs)
        self.number = number
        self.offset = refs.offset[0] if kernel.plan.offset else 0  # the first query's index in the row of keys
        self.seed = refs.seed[0] if kernel.plan.dropout else None

    def work(self, compute: Callable, turn, tile: Tile, met):
        """Computes a tile; returns the number of blocks visited so far."""
        task = Task(self, turn, tile, met)
        compute(task)
        return task.met

    def hand_back(self, turn):
        """Frees the slot of a tile whose results have been copied out."""
        gpu.sent()
        for ring in self.kept:
            ring.give_back(turn)

    def end(self, turns):
        self.hand_back(turns - 1)

    def slope(self, n):
        """The slope of head n; None without a bias of slopes."""
        return self.refs.slopes[n] if self.kernel.plan.bias == "slopes" else None


class Task:
    """A tile as one worker computes it: its operands in shared memory by name, and its blocks of scores."""

    def __init__(self, worker: Worker, turn, tile: Tile, met):
        self.worker, self.turn, self.tile, self.met = worker, turn, tile, met
        self.slot = lax.rem(turn, jnp.int32(worker.kernel.tiling.slots))
        self.near = {}
        for ring in worker.kept:
            self.near |= ring.take(turn, worker.number)
        self.slope = None if tile.place.n is None else worker.slope(tile.place.n)

    def each(self, step: Callable, carry):
        """The carry after step(block, carry) -> carry for each block of scores."""

        def one(number, met, place, carry):
            return step(WorkerBlock(self, number, met, place), carry)

        self.met, carry = self.tile.visit(one, self.met, carry)
        self.hand_back_earlier(self.tile.count == 0)
        return carry

    def hand_back_earlier(self, now):
        """Frees the slot that held the results of the tile before.

        To be called after the first product of this tile: earlier, it would have to wait; later, the copier would wait
        for this worker while the other needs its next keys before it can let this one continue.
        """
        if self.worker.kernel.tiling.slots > 1:
            gpu.when((self.turn > 0) & now)(lambda: self.worker.hand_back(self.turn - 1))

    def send(self, **results):
        """Writes results [rows, ...] to shared memory and begins to copy them out from there."""
        worker, slot = self.worker, self.slot
        near = {
            name: getattr(worker.refs, f"near_{name}").at[slot, worker.number] if place is None else self.near[place]
            for name, place in worker.kernel.results.items()
        }
        for name, result in results.items():
            near[name][...] = result.astype(near[name].dtype)
        gpu.publish()
        for name in results:
            gpu.send(near[name], worker.kernel.part(worker.refs, name, self.tile.place, worker.number))


class WorkerBlock:
    """A block of scores as a worker computes it.

    Its indices and vectors are made where they are used, since they would occupy registers if made earlier.
    """

    def __init__(self, task: Task, number, met, place: TileIndex):
        self.task, self.number, self.met = task, number, met
        kernel, worker = task.worker.kernel, task.worker
        self.plan, self.shape, self.rows = kernel.plan, kernel.shape, kernel.rows
        self.b, self.n, self.whole, self.seed = place.b, place.n, place.whole, worker.seed
        self.slope = worker.slope(place.n) if task.slope is None else task.slope
        row, column = place.row + worker.number * ROWS, place.column
        t, s = (row, column) if self.rows == "t" else (column, row)
        self.start = dict(t=t + worker.offset, s=s)
        # Looked up for each block, or the addresses of all slices of the kept operands would stay in registers.
        (slot,) = gpu.settle(task.slot)
        self.near = {}
        for ring in worker.kept:
            self.near |= ring.near(slot, worker.number)

    def _ring(self, name) -> Ring:
        return next(ring for ring in self.task.worker.passing if ring.names[0] == name)

    def take(self, name: str):
        """Waits for the group of operands that begins with this one."""
        self.near |= self._ring(name).take(self.met, self.task.worker.number)

    def give_back(self, name: str):
        self._ring(name).give_back(self.met)

    def begun(self):
        """To be called after the first product."""
        self.task.hand_back_earlier(self.number == 0)

    def __getitem__(self, name: str):
        """An operand in shared memory."""
        return self.near[name]

    def factors(self, query: str, key: str):
        """The factors of this block's product: the operand of its rows, and that of its columns, transposed."""
        left, right = (query, key) if self.rows == "t" else (key, query)
        return self[left], gpu.transposed(self[right])

    def _axis(self, side: str) -> int:
        return 0 if side == self.rows else 1

    def index(self, side: str):
        """For each score, the row index of its query ("t") or its key ("s")."""
        return gpu.index(self.shape, self._axis(side), self.start[side])

    def broadcast(self, name: str):
        """For each score, the value of its query or key in a vector."""
        axis = self._axis(AXES[name][-1])
        return gpu.broadcast(gpu.along(self[name], axis), self.shape, axis)
