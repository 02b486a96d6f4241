"""Validation: the same rows, in the same order, with the same random numbers every time, so that
numbers compare.
"""

import contextlib
import itertools
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding

from xfm.data import Batches, prefetch
from xfm.data.layout import Padded, Tokens
from xfm.errors import XfmError
from xfm.train.state import State

SEED = 0  # of the evaluation's random numbers, whatever the run's seed


def weights_of(state: State) -> Any:
    """The parameters that evaluation uses: the moving average where there is one."""
    return state.params if state.ema is None else state.ema


def plan_batches(rows: int, batch: int, ways: int, eval_steps: int | None) -> tuple[int, int]:
    """(number of batches, rows of each), all batches being alike so that one compilation serves.

    The rows of a batch are a multiple of `ways`, at most `batch`, and at least half of it where the
    source is that long; of such sizes the one that leaves out the fewest rows, always the last ones
    (as a rule fewer than `ways`). Raises XfmError where there are fewer rows than ways.
    """
    if rows < ways:
        raise XfmError(f"{rows} validation rows cannot be dealt to {ways} devices; give it more validation data")
    each, most = rows // ways, min(rows, batch) // ways
    size = max(range(most, most // 2, -1), key=lambda size: each // size * size)
    count = each // size
    return min(count, eval_steps or count), size * ways


def evaluate_on(
    evaluate,
    state: State,
    source: Any,
    batch: int,
    eval_steps: int | None,
    sharding: NamedSharding,
    layout: Padded | Tokens = Padded(),  # noqa: B008 (frozen)
) -> dict[str, float]:
    """metric -> mean over the validation source, or over its first `eval_steps` batches.

    evaluate: what `make_eval` gives.  layout: of the batches' texts.
    """
    ways = sharding.mesh.shape["data"]
    count, size = plan_batches(len(source), batch, ways, eval_steps)
    batches = layout.over(Batches(source, size, None), ways)
    key, sums = jax.random.key(SEED), None
    with contextlib.closing(prefetch(batches, sharding, 0)) as stream:
        for index, rows in itertools.islice(stream, count):
            metrics = evaluate(weights_of(state), state.extra, rows, jax.random.fold_in(key, index))
            metrics = {name: tuple(map(float, pair)) for name, pair in jax.device_get(metrics).items()}
            sums = metrics if sums is None else _added(sums, metrics)
    return {name: total / rows for name, (total, rows) in sums.items() if rows}


def _added(a: Mapping, b: Mapping) -> dict:
    return {name: (a[name][0] + b[name][0], a[name][1] + b[name][1]) for name in a}
