"""Whether a run can fit in memory at all, from the shapes of its state and its batch, before any array exists."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from xfm.errors import XfmError
from xfm.memory import host_memory, in_bytes
from xfm.train.settings import TrainSettings
from xfm.train.state import State


def check_batch(settings: TrainSettings, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
    """Raises XfmError if this process's rows of a batch, name -> (shape, dtype), are larger than its memory."""
    needed, there = sum(_bytes(*one) for one in shapes.values()) // jax.process_count(), host_memory()
    if needed > there:
        raise XfmError(
            f"config.batch={settings.batch} rows are {in_bytes(needed)} of input here, and this machine has "
            f"{in_bytes(there)} of memory; lower the batch"
        )


def check_parameters(params: Any) -> None:
    """Raises XfmError where parameters alone, arrays or their shapes, are larger than all devices' memory together."""
    needed = sum(_bytes(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params))
    there = _device_memory()[0] * jax.device_count()
    if needed > there:
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        raise XfmError(
            f"config.model has {count:,} parameters, which are {in_bytes(needed)}, and all devices have "
            f"{in_bytes(there)} of memory; make the model smaller"
        )


def check_state(like: State) -> None:
    """Raises XfmError where parameters and the optimiser's state are larger than a device's memory.

    like: shapes, dtypes and shardings.  The need is a lower bound, without gradients and activations.
    """
    needed = sum(_shard(leaf) for leaf in jax.tree.leaves(like))
    there, what = _device_memory()
    if needed > there:
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(like.params))
        raise XfmError(
            f"config.model has {count:,} parameters; with the optimiser's state each device holds "
            f"{in_bytes(needed)}, and {what} {in_bytes(there)}; make the model smaller, or divide it by config.sharding"
        )


def _device_memory() -> tuple[float, str]:
    """The bytes that one device may hold, infinity if it does not say, and words for it; CPUs share the machine's."""
    device, count = jax.local_devices()[0], jax.local_device_count()
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit", math.inf), "it has"
    return host_memory() // count, "this machine has" if count == 1 else f"each of this machine's {count} devices has"


def _shard(leaf: Any) -> int:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return 0
    return _bytes(leaf.sharding.shard_shape(leaf.shape), leaf.dtype)


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
