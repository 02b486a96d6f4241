"""Batches by the names of their arrays, which have a prefix for a second text or tower, as in `target/tokens`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xfm.errors import XfmError

Batch = Mapping[str, Any]


def spread_out(rows: int, most: int) -> list[int]:
    """The numbers of at most `most` different rows, evenly spread over `rows` rows, in order."""
    return np.linspace(0, rows - 1, min(rows, most)).astype(int).tolist()


def prefixed(prefix: str, name: str) -> str:
    """The name of an array of the part with a prefix, which is "" for arrays without one."""
    return f"{prefix}/{name}" if prefix else name


def prefixes(batch: Batch) -> tuple[str, ...]:
    """The prefixes of a batch or a row, sorted; the first is "" if an array has none."""
    return tuple(sorted({name.rpartition("/")[0] for name in batch}))


def part_of(batch: Batch, prefix: str) -> dict[str, Any]:
    """The batch of one text or tower: the arrays with this prefix, under their names without it.

    prefix: "" for the arrays without one.  Raises XfmError if the batch has no arrays with this prefix.
    """
    found = {name.rpartition("/")[2]: x for name, x in batch.items() if name.rpartition("/")[0] == prefix}
    if not found:
        raise XfmError(f"the batch has no arrays {prefixed(prefix, '…')!r}; it has {', '.join(batch) or 'none'}")
    return found


def with_prefix(prefix: str, part: Batch) -> dict[str, Any]:
    """The arrays of a part under their names in the whole batch; the inverse of `part_of`."""
    return {prefixed(prefix, name): x for name, x in part.items()}


def texts_of_row(count: int) -> tuple[str, ...]:
    """The prefixes of a row of `count` texts: "" for the query, then "positive", "negative", "negative_2", …."""
    return ("", "positive", "negative", *(f"negative_{i}" for i in range(2, count - 1)))[:count]


def over_parts(run: Callable[[Batch, int], Any], parts: Sequence[Batch]) -> Any:
    """run(batch, 0) on all parts as one batch, in which row i · n + k is row i of part k of n.

    If the shapes of the parts differ, or if they have `cells` (see `xfm.data.layout`), the result is a list of
    run(part, k) instead. Arrays that not all parts have are left out.
    """
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    parts = [{name: part[name] for name in shared} for part in parts]
    if "cells" in shared or len({tuple(part[name].shape for name in shared) for part in parts}) > 1:
        return [run(part, number) for number, part in enumerate(parts)]
    return run(jax.tree.map(lambda *xs: jnp.stack(xs, 1).reshape(-1, *xs[0].shape[1:]), *parts), 0)
