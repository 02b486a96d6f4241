"""Rows in batches of almost equal size, and a function of every row, spread over the devices of a mesh."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int

from xfm.sharding import batch_sharding, on_mesh

Row = Mapping[str, np.ndarray]


def even(rows: int, batch: int) -> Int[np.ndarray, " count_and_one"]:
    """The first row of each batch, and the number of rows, for as few batches of at most `batch` rows as possible.

    Their sizes differ by one at most.
    """
    count = -(-rows // batch)
    return np.arange(count + 1) * rows // max(count, 1)


class EvenBatches:
    """A source of rows for batches of one size, so that one compilation is enough: each row once, and rows of zeros.

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

    @property
    def decodes(self) -> bool:
        """Whether rows take long to read; see `xfm.data.source.Source`."""
        return getattr(self.source, "decodes", False)

    def __getitem__(self, index: int) -> Row:
        number = int(self._numbers.flat[index])
        row = self._filling if number < 0 else self.source[number]
        return row if "weights" in row else {**row, "weights": np.float32(number >= 0)}

    @functools.cached_property
    def _filling(self) -> Row:
        return {name: np.zeros_like(array) for name, array in self.source[0].items()}


def predict(
    function: Callable[[Any, Mapping[str, Array]], Any],
    params: Any,
    rows: Sequence[Row],
    mesh: Mesh,
    batch: int,
) -> Any:
    """function(params, batch) of every row, in order, as arrays of the host.

    A batch has at most `batch` rows, and rows of zeros up to a multiple of the number of devices; each device computes
    its share of a batch. function: it returns arrays with a first axis over the batch's rows, and is compiled once.
    """
    dealt, run, found = EvenBatches(rows, batch, mesh.shape["data"]), jax.jit(on_mesh(mesh, function)), []
    for index, real in enumerate(dealt.real):
        part = run(params, spread([dealt[index * dealt.size + i] for i in range(dealt.size)], mesh))
        found.append(jax.tree.map(lambda x, real=real: _host(x)[:real], part))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def spread(rows: Sequence[Row], mesh: Mesh) -> dict[str, Array]:
    """A batch of these rows, of which each device of the mesh's data axis holds an equal part."""
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_callback(x.shape, sharding, lambda index, x=x: x[index])
        for name, x in stacked.items()
    }


def _host(x: Array) -> np.ndarray:
    if x.is_fully_addressable:
        return np.asarray(x)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
