"""Prefetching: a background thread puts batches on the device while the previous step computes."""

import atexit
import queue
import threading
import time
from collections.abc import Iterator, Mapping

import jax

from xfm.data.batches import Batches

Sharding = jax.sharding.Sharding | Mapping[str, jax.sharding.Sharding] | None


def prefetch(batches: Batches, sharding: Sharding, start_step: int = 0, depth: int = 2) -> "Prefetch":
    """An endless iterator of (step, batch on the device) that begins with `start_step`.

    sharding: one for every array, or a mapping from names to shardings, or None for the default device. If arrays are
    sharded over hosts, each host reads only the rows of its own devices.
    depth: the largest number of batches that are prepared ahead.
    """
    return Prefetch(batches, sharding, start_step, depth)


class Prefetch:
    """The iterator that `prefetch` returns. An error in its thread is raised by `next`; `close`, or the end of a `with`
    block, ends the thread.
    """

    def __init__(self, batches: Batches, sharding: Sharding, start_step: int, depth: int):
        self._batches, self._sharding = batches, sharding
        self._ready: queue.Queue = queue.Queue(depth)
        self._stop = threading.Event()
        self._waited, self._since = 0.0, time.perf_counter()
        self._thread = threading.Thread(target=self._work, args=(start_step,), daemon=True)
        atexit.register(self.close)
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[int, dict[str, jax.Array]]]:
        return self

    def __next__(self) -> tuple[int, dict[str, jax.Array]]:
        if self._stop.is_set():
            raise StopIteration
        begin = time.perf_counter()
        step, batch = self._ready.get()
        self._waited += time.perf_counter() - begin
        if isinstance(batch, BaseException):
            self.close()
            raise batch
        return step, batch

    def wait_share(self) -> float:
        """The share of wall time, in [0, 1], that the consumer has waited since the last call of this method."""
        now = time.perf_counter()
        share = min(self._waited / max(now - self._since, 1e-9), 1.0)
        self._waited, self._since = 0.0, now
        return share

    def close(self) -> None:
        """Stops the thread and waits until it has ended; may be called repeatedly."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                pass
            self._thread.join(0.01)
        atexit.unregister(self.close)

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _work(self, step: int) -> None:
        while not self._stop.is_set():
            try:
                item = step, on_device(self._batches, self._sharding, step)
            except BaseException as error:
                item = step, error
            self._ready.put(item)  # never blocks forever, since close() empties the queue
            if isinstance(item[1], BaseException):
                return
            step += 1


def on_device(batches: Batches, sharding: Sharding, step: int) -> dict[str, jax.Array]:
    """The global batch of `step` as arrays of the given sharding; only the rows of this host's devices are read."""
    if sharding is None:
        return jax.device_put(batches.rows(step))
    read: dict[tuple[int, int], dict] = {}

    def rows(start, stop):
        if (start, stop) not in read:
            read[start, stop] = batches.rows(step, start, stop)
        return read[start, stop]

    def array(name, shape):
        def part(index):
            start, stop, _ = index[0].indices(shape[0])
            each = batches.batch // shape[0]  # rows per entry of the first axis; `cells` of a layout has one per group
            return rows(start * each, stop * each)[name][(slice(None), *index[1:])]

        own = sharding[name] if isinstance(sharding, Mapping) else sharding
        return jax.make_array_from_callback(shape, own, part)

    return {name: array(name, shape) for name, (shape, _) in batches.spec(step=step).items()}
