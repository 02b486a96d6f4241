"""Validation: every row counts once, whatever the number of devices, or a sample that is the same every time; the same
random numbers every time; so that numbers compare.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Int

from xfm.data import Batches, prefetch
from xfm.data.layout import Padded, Tokens
from xfm.data.source import Row
from xfm.objectives.base import Predict
from xfm.sharding import batch_sharding
from xfm.train.state import State
from xfm.train.step import on_mesh

SEED = 0  # of the evaluation's random numbers and of its sample of rows, whatever the run's seed


def weights_of(state: State) -> Any:
    """The parameters that evaluation uses: the moving average where there is one."""
    return state.params if state.ema is None else state.ema


def even(rows: int, batch: int) -> Int[np.ndarray, "count_and_one"]:
    """Where each of the fewest batches of at most `batch` rows begins, and the end; sizes differ by one at most."""
    count = -(-rows // batch)
    return np.arange(count + 1) * rows // max(count, 1)


def sample(rows: int, batch: int, eval_steps: int | None) -> Int[np.ndarray, "n"]:
    """The rows that are evaluated: all, or `eval_steps` · batch of them at random, the same every time; in order."""
    wanted = rows if eval_steps is None else min(eval_steps * batch, rows)
    if wanted == rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(SEED).choice(rows, wanted, replace=False))


def fewest_rows(rows: int, batch: int, eval_steps: int | None) -> int:
    """The rows of the smallest batch of an evaluation of a source of so many rows."""
    return int(np.diff(even(len(sample(rows, batch, eval_steps)), batch)).min(initial=batch))


class EvenBatches:
    """A source of rows for batches of one size, so that one compilation serves: each row of `source` once, and filling.

    chosen: the rows that are taken, all if None. They are dealt in order to batches of almost equal size, and each
    batch is filled up to `size`, a multiple of `ways`, with rows of zeros. Their `weights` are 0 and those of the
    source's rows 1, unless those have weights already. The batch of a row and its position there do not depend on
    `ways`, and so neither do the random numbers that are drawn for it.
    """

    def __init__(self, source: Sequence[Row], batch: int, ways: int, chosen: Sequence[int] | None = None):
        chosen = np.arange(len(source)) if chosen is None else chosen
        self.source, bounds = source, even(len(chosen), batch)
        self.real = np.diff(bounds)  # rows of each batch that are the source's
        self.size = -(-int(self.real.max(initial=0)) // ways) * ways
        self._numbers = np.full((len(self.real), self.size), -1)
        for numbers, start, stop in zip(self._numbers, bounds[:-1], bounds[1:], strict=True):
            numbers[: stop - start] = chosen[start:stop]

    def __len__(self) -> int:
        return self._numbers.size

    def __getitem__(self, index: int) -> Row:
        number = int(self._numbers.flat[index])
        row = self._filling if number < 0 else self.source[number]
        return row if "weights" in row else {**row, "weights": np.float32(number >= 0)}

    @functools.cached_property
    def _filling(self) -> Row:
        return {name: np.zeros_like(array) for name, array in self.source[0].items()}

    def on_device(self, sharding: NamedSharding, layout: Padded | Tokens) -> Iterator[tuple[int, Mapping[str, Array]]]:
        """(number, batch on the devices) of every batch, in order."""
        batches = layout.over(Batches(self, self.size, None), sharding.mesh.shape["data"])
        with contextlib.closing(prefetch(batches, sharding, 0)) as stream:
            yield from itertools.islice(stream, len(self.real))


def evaluate_on(
    evaluate: Callable,
    state: State,
    source: Any,
    batch: int,
    eval_steps: int | None,
    sharding: NamedSharding,
    layout: Padded | Tokens = Padded(),  # noqa: B008 (frozen)
) -> dict[str, float]:
    """metric -> mean over every row of the validation source, or over `eval_steps` batches of rows chosen at random,
    the same every time.

    evaluate: what `make_eval` gives.  batch: rows of a batch, at most, but for filling up to the number of devices.
    layout: of the batches' texts.
    """
    chosen = sample(len(source), batch, eval_steps)
    rows = EvenBatches(source, batch, sharding.mesh.shape["data"], chosen)
    key, sums = jax.random.key(SEED), None
    for index, part in rows.on_device(sharding, layout):
        metrics = evaluate(weights_of(state), state.extra, part, jax.random.fold_in(key, index), state.step)
        metrics = {name: tuple(map(float, pair)) for name, pair in jax.device_get(metrics).items()}
        sums = metrics if sums is None else _added(sums, metrics)
    return {name: total / count for name, (total, count) in sums.items() if count}


def _added(a: Mapping, b: Mapping) -> dict:
    return {name: (a[name][0] + b[name][0], a[name][1] + b[name][1]) for name in a}


def predictor(mesh: Mesh, batch: int) -> Predict:
    """What objectives predict with: rows in batches of at most `batch`, spread over the mesh's devices."""

    def predict(function, params, source):
        rows, run, found = EvenBatches(source, batch, mesh.shape["data"]), jax.jit(on_mesh(mesh, function)), []
        for index, part in rows.on_device(batch_sharding(mesh), Padded()):
            real = rows.real[index]
            found.append(jax.tree.map(lambda x, real=real: _host(x)[:real], run(params, part)))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    return predict


def _host(x: Array) -> np.ndarray:
    if x.is_fully_addressable:
        return np.asarray(x)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
