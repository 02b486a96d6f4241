"""The parameters of a checkpoint by the paths of a network whose layers are stacked in another way.

Layers that are all alike are one compiled loop, and their parameters have a leading axis of layers. Where each period
has, say, five layers with windows and one without, layer 7 is row 1 of other arrays. Its number is the same in both.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import numpy as np

from xfm.errors import XfmError
from xfm.structures.base import Layer
from xfm.train.found import Found

Shapes = Mapping[str, tuple[int, ...]]
Rows = list[tuple[str, int | None]]  # where a parameter is in a checkpoint: paths, and the row of each if it is stacked
Renames = Sequence[tuple[str, str]]


def by_number(
    found: Found, there: Sequence[Layer], here: Sequence[Layer], shapes: Shapes, renames: Renames = ()
) -> Found:
    """The checkpoint with its parameters by the paths of the network.

    there, here: sublayers of the checkpoint's network and of the network, which takes the i-th of a group there for its
    own i-th. Without any, parameters are taken by their paths alone.
    shapes: of the network's parameters, by path.  renames: (regex, replacement), from a path in the network to that in
    the checkpoint. They are applied to the path within its sublayer of a parameter that is in one, and else to the
    whole path.
    Raises XfmError for a group that does not have as many sublayers in both, or if no group is in both.
    """
    modules, everything = paired(found.source, there, here), found.shapes()
    rows = {path: rows_of(path, modules, renames) for path in shapes}
    stacked = {layer.path for layer in here if layer.stacked}
    ones = {path: {everything.get(name, ())[row is not None :] for name, row in at} for path, at in rows.items()}
    rows = {p: at for p, at in rows.items() if len(ones[p]) == 1 and all(name in everything for name, _ in at)}
    used = {name for at in rows.values() for name, _ in at}

    def shape(path: str) -> tuple[int, ...]:
        (one,) = ones[path]
        return (len(rows[path]), *one) if module_of(path, stacked) else one

    @functools.cache
    def weights() -> dict[str, np.ndarray]:
        known = found.weights()
        arrays = {path: [known[name] if i is None else known[name][i] for name, i in at] for path, at in rows.items()}
        return {path: np.stack(a) if module_of(path, stacked) else a[0] for path, a in arrays.items()}

    rest = {name: one for name, one in everything.items() if name not in used and name not in shapes}
    laid = {path: shape(path) for path in rows} | rest
    return dataclasses.replace(found, shapes=lambda: laid, weights=weights)


def paired(source: str, there: Sequence[Layer], here: Sequence[Layer]) -> dict[str, list[Layer]]:
    """For the module of each sublayer of the network those of the checkpoint that it takes, one for each of its rows.

    Raises XfmError; see `by_number`.
    """
    groups: dict[str, list[Layer]] = {}
    found: dict[str, list[Layer]] = {}
    for layers, into in ((there, groups), (here, found)):
        for layer in layers:
            into.setdefault(layer.group, []).append(layer)
    for group, layers in found.items():
        count = len(groups.get(group, ()))
        if count != len(layers) and (count or not groups.keys() & found.keys()):
            raise XfmError(
                f"{source} has {count} sublayers in the group {group!r} and the network of this config has "
                f"{len(layers)}; config.start.layers='number' needs as many"
            )
    modules: dict[str, list[Layer]] = {}
    for group in groups.keys() & found.keys():
        for mine, its in sorted(zip(found[group], groups[group], strict=True), key=lambda pair: pair[0].index):
            modules.setdefault(mine.path, []).append(its)
    return modules


def rows_of(path: str, modules: Mapping[str, Sequence[Layer]], renames: Renames) -> Rows:
    """Where a parameter of the network is in the checkpoint."""
    module = module_of(path, modules)
    if module is None:
        return [(renamed(path, renames), None)]
    inside = renamed(path[len(module) + 1 :], renames)
    return [(f"{layer.path}/{inside}", layer.index if layer.stacked else None) for layer in modules[module]]


def module_of(path: str, modules: Mapping[str, object] | set[str]) -> str | None:
    """The one of the modules that a parameter is in, or None."""
    names = path.split("/")
    return next((one for i in range(1, len(names)) if (one := "/".join(names[:i])) in modules), None)


def renamed(path: str, renames: Renames) -> str:
    """The path with each of the replacements."""
    return functools.reduce(lambda name, rule: re.sub(rule[0], rule[1], name), renames, path)
