"""Sharding: a mesh of devices with axes "data" and "model", and rules from parameter paths to mesh axes.

A rule is a pair (regex, axes), where `axes` are the mesh axes of a parameter's last dimensions, None for those that are
not sharded. Earlier dimensions, such as the depth of a scanned stack, are never sharded. Every parameter matches
exactly one rule of a table. An array of optimiser state, a moving average or a teacher is sharded like the parameter
whose path is the end of its own.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from xfm.errors import XfmError, nearest
from xfm.kernels.platform import spread_over
from xfm.paths import Rules, flatten, map_by_path

AXES = ("data", "model")

_NAMED = "q|k|v|o|up|gate|down|in|out"
_OTHER_KERNEL = rf"(^|/)(?!({_NAMED})/)[^/]+/kernel$|^kernel$"
_VOCABULARY = r"(^|/)embedding$|(^|/)head[^/]*/table$"
_REST = rf"^(?!.*({_VOCABULARY})).*(?<!kernel)$"
_REST_BUT_CUT_BIASES = rf"^(?!(.*/)?(q|k|v|up|gate|in)/bias$){_REST[1:]}"

REPLICATED: Rules = ((r"", ()),)

# Attention kernels are [D N H] (q, k, v) and [N H D] (o); feed-forward [D F] (up, gate) and [F D].

# Parameters are sharded over the data axis along D, and gathered when they are used (ZeRO, Rajbhandari et al., 2020);
# small ones are not sharded.
FSDP: Rules = (
    (r"(^|/)(q|k|v)/kernel$", ("data", None, None)),
    (r"(^|/)o/kernel$", (None, None, "data")),
    (r"(^|/)(up|gate|in)/kernel$", ("data", None)),
    (r"(^|/)(down|out)/kernel$", (None, "data")),
    (_VOCABULARY, (None, "data")),
    (_OTHER_KERNEL, ("data",)),
    (_REST, ()),
)

# Heads, hidden units and the vocabulary are sharded over the model axis (Megatron-LM, Shoeybi et al., 2019).
TENSOR: Rules = (
    (r"(^|/)(q|k|v)/kernel$", (None, "model", None)),
    (r"(^|/)(q|k|v)/bias$", ("model", None)),
    (r"(^|/)o/kernel$", ("model", None, None)),
    (r"(^|/)(up|gate|in)/kernel$", (None, "model")),
    (r"(^|/)(up|gate|in)/bias$", ("model",)),
    (r"(^|/)(down|out)/kernel$", ("model", None)),
    (_VOCABULARY, ("model", None)),
    (_OTHER_KERNEL, ()),
    (_REST_BUT_CUT_BIASES, ()),
)

RULES = {
    "replicated": REPLICATED,
    "fsdp": FSDP,
    "tensor": TENSOR,
}


def make_mesh(spec: Mapping[str, int]) -> Mesh:
    """The mesh of all devices.

    spec: the sizes of the axes "data" and "model"; one of them may be -1, for all remaining devices.
    Raises XfmError if their product is not the number of devices.

    Axis types are always Auto (the compiler chooses the sharding of intermediate results), since JAX's default differs
    between versions.
    """
    sizes = {"data": -1, "model": 1, **spec}
    count = jax.device_count()
    if unknown := set(sizes) - set(AXES):
        name = sorted(unknown)[0]
        raise XfmError(f"config.mesh has no axis {name!r}{nearest(name, AXES)}; it has data, model")
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    if -1 in sizes.values() and known > 0 and count % known == 0:
        sizes = {axis: count // known if size == -1 else size for axis, size in sizes.items()}
    shape = tuple(sizes[axis] for axis in AXES)
    if min(shape) < 1 or int(np.prod(shape)) != count:
        raise XfmError(
            f"config.mesh {dict(spec)} does not fit {count} devices: the product of data and model "
            f"must be {count}, and at most one of them -1"
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def rules_named(name: str) -> Rules:
    """The table of rules that config.sharding names. Raises XfmError if there is none."""
    if name not in RULES:
        raise XfmError(f"there is no config.sharding {name!r}{nearest(name, RULES)}; there are {', '.join(RULES)}")
    return RULES[name]


def rule_of(path: str, rules: Rules) -> tuple[str | None, ...]:
    """The axes of the only rule that matches the path. Raises XfmError if no rule does, or several do."""
    found = [(regex, axes) for regex, axes in rules if re.search(regex, path)]
    if len(found) != 1:
        names = " and ".join(repr(regex) for regex, _ in found)
        raise XfmError(f"parameter {path} matches {names or 'no sharding rule'}; it must match exactly one rule")
    return found[0][1]


def fit(path: str, shape: tuple[int, ...], axes: tuple, mesh: Mesh) -> tuple[PartitionSpec, list[str]]:
    """The partition spec of an array, and a sentence for each axis over which it cannot be sharded.

    path: of the array, for these sentences.  axes: of a rule.
    """
    notes, spec = [], [None] * len(shape)
    for back, axis in enumerate(reversed(axes), start=1):
        if axis is None or mesh.shape[axis] == 1:
            continue
        if back > len(shape):
            notes.append(f"{path} {shape}: no dimension for axis '{axis}'; kept whole")
        elif shape[-back] % mesh.shape[axis]:
            notes.append(
                f"{path} {shape}: axis '{axis}' ({mesh.shape[axis]}) does not divide {shape[-back]}; kept whole"
            )
        else:
            spec[len(shape) - back] = axis
    while spec and spec[-1] is None:
        spec.pop()
    return PartitionSpec(*spec), notes


def params_sharding(params: Any, mesh: Mesh, rules: Rules) -> tuple[Any, list[str]]:
    """The shardings of a tree of parameters (arrays or their shapes), and the sentences of `fit`."""
    fits = {path: fit(path, x.shape, rule_of(path, rules), mesh) for path, x in flatten(params).items()}
    notes = [note for _, lines in fits.values() for note in lines]
    return map_by_path(lambda path, _: NamedSharding(mesh, fits[path][0]), params), notes


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of batches: rows are divided over the data axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def first_replica(array: jax.Array) -> jax.Array:
    """The array on as few devices of its mesh as hold all of it; nothing is copied.

    An array that spans several processes, or has no mesh, is returned as it is.
    """
    sharding = array.sharding
    if not isinstance(sharding, NamedSharding) or not array.is_fully_addressable:
        return array
    parts = (part if isinstance(part, tuple) else (part,) for part in sharding.spec)
    used = {axis for part in parts for axis in part}
    mesh = sharding.mesh
    devices = mesh.devices[tuple(slice(None) if axis in used else slice(1) for axis in mesh.axis_names)]
    if devices.size == mesh.size:
        return array
    there = {shard.device: shard.data for shard in array.addressable_shards}
    fewer = NamedSharding(Mesh(devices, mesh.axis_names, axis_types=mesh.axis_types), sharding.spec)
    return jax.make_array_from_single_device_arrays(array.shape, fewer, [there[device] for device in devices.flat])


def on_mesh(mesh: Mesh | None, function: Callable) -> Callable:
    """The function, traced for that mesh, which kernels written by hand must know; as it is if None."""
    if mesh is None:
        return function

    @functools.wraps(function)
    def spread(*arguments):
        with spread_over(mesh):
            return function(*arguments)

    return spread
