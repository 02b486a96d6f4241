"""An objective's network over a whole source, in batches of one shape."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

BATCH = 64


def predict(function: Callable[[Any, Mapping[str, Array]], Any], params: Any, source: Any, batch: int = BATCH):
    """function(params, batch) of every row, in order, as arrays of the host joined along their first axis.

    The last batch is filled up with its last row, so that one compilation serves.
    """
    run, found = jax.jit(function), []
    for start in range(0, len(source), batch):
        index = [min(start + i, len(source) - 1) for i in range(batch)]
        rows = [source[i] for i in index]
        out = run(params, {name: np.stack([row[name] for row in rows]) for name in rows[0]})
        real = min(batch, len(source) - start)
        found.append(jax.tree.map(lambda x, real=real: _host(x)[:real], out))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def _host(x: Array) -> np.ndarray:
    if x.is_fully_addressable:
        return np.asarray(x)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
