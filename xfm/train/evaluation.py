"""Validation on all rows, or on a sample of them that is the same every time.

Every row counts once, whatever the number of devices, and the random numbers are the same every time, so that results
can be compared.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Int

from xfm.data import Batches, prefetch
from xfm.data.layout import Padded, Tokens
from xfm.evaluators.rows import EvenBatches, even
from xfm.train.state import State

SEED = 0  # that of the evaluation's random numbers and of its sample of rows, whatever the run's seed


def weights_of(state: State) -> Any:
    """The parameters that evaluation uses: the moving average where there is one."""
    return state.params if state.ema is None else state.ema


def sample(rows: int, batch: int, eval_steps: int | None) -> Int[np.ndarray, " n"]:
    """The rows that are evaluated, in order: all, or `eval_steps` · batch random ones that are the same every time."""
    wanted = rows if eval_steps is None else min(eval_steps * batch, rows)
    if wanted == rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(SEED).choice(rows, wanted, replace=False))


def fewest_rows(rows: int, batch: int, eval_steps: int | None) -> int:
    """The rows of the smallest batch of an evaluation of a source of so many rows."""
    return int(np.diff(even(len(sample(rows, batch, eval_steps)), batch)).min(initial=batch))


def on_devices(
    rows: EvenBatches, sharding: NamedSharding, layout: Padded | Tokens
) -> Iterator[tuple[int, Mapping[str, Array]]]:
    """(number, batch on the devices) for all batches in order; a thread reads each while the one before it computes."""
    batches = layout.over(Batches(rows, rows.size, None), sharding.mesh.shape["data"])
    with contextlib.closing(prefetch(batches, sharding, 0)) as stream:
        yield from itertools.islice(stream, len(rows.real))


def evaluate_on(
    evaluate: Callable,
    state: State,
    source: Any,
    batch: int,
    eval_steps: int | None,
    sharding: NamedSharding,
    layout: Padded | Tokens = Padded(),  # noqa: B008 (frozen)
) -> dict[str, float]:
    """The mean of each metric over all rows of the validation source, or over the `sample` of `eval_steps` batches.

    evaluate: what `make_eval` returns.  batch: the most rows of a batch, not counting those that fill it up to a
    multiple of the number of devices.  layout: that of the batches' texts.
    """
    chosen = sample(len(source), batch, eval_steps)
    rows = EvenBatches(source, batch, sharding.mesh.shape["data"], chosen)
    key, sums = jax.random.key(SEED), None
    for index, part in on_devices(rows, sharding, layout):
        metrics = evaluate(weights_of(state), state.extra, part, jax.random.fold_in(key, index), state.step)
        metrics = {name: tuple(map(float, pair)) for name, pair in jax.device_get(metrics).items()}
        sums = metrics if sums is None else _added(sums, metrics)
    return {name: total / count for name, (total, count) in sums.items() if count}


def _added(a: Mapping, b: Mapping) -> dict:
    return {name: (a[name][0] + b[name][0], a[name][1] + b[name][1]) for name in a}
