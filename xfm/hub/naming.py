"""One table per family says what each parameter is called in the Hub's files; here it is read in both directions.

A table's row is `place in xfm: name in the file`. A place is a module or a single parameter; `layer/0`, `layer/1`, …
are the sublayers of one of the file's layers, wherever the stack keeps them, and `{}` in a name is the layer's number.
Where the names depend on the part, `layer/mlp_1` and `layer/glu_1` are the second sublayer of either kind; where they
lack something, `layer/1` serves. Outside the layers, `{}` is the number of the layer that would follow the last. In a
funnel `block/1` takes two numbers, the block's and the layer's in it, and `decoder/1` the layer's:

    "embed/word": "embeddings.word_embeddings",
    "layer/0/part/q": "encoder.layer.{}.attention.self.query",

Below a module, `kernel`, `scale`, `embedding` and `table` are the file's `weight`, and other leaves keep their name.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from xfm.errors import XfmError
from xfm.structures.base import Layer

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "table": "weight"}
GROUP = re.compile(r"([a-z]+)_?(\d*)")  # of layers that are counted together: "layer", "block_1"


@dataclasses.dataclass(frozen=True)
class At:
    """A name in the file, with what happens to the array on its way.

    part: (i, n), the i-th of n equal parts of the file's output features, where several maps were fused into one.
    layout: of a matrix in the file, "out_in" as PyTorch's Linear has it or "in_out".
    axes: instead of a layout, the order of the file's axes that is xfm's; for convolutions.
    """

    name: str
    part: tuple[int, int] = (0, 1)
    layout: str = "out_in"
    axes: tuple[int, ...] | None = None


Names = Mapping[str, str | At]


@dataclasses.dataclass(frozen=True)
class Piece:
    """One parameter, or one layer of a stacked one, and where it lies in the file.

    path: of the parameter.  layer: index along its leading axis, None if it has none for layers.
    shape: of the piece in xfm.  at: the name in the file, complete.  ins: how many of the shape's axes are inputs of a
    linear map, 0 for its bias; None if it is neither.
    """

    path: str
    layer: int | None
    shape: tuple[int, ...]
    at: At
    ins: int | None

    @property
    def matrix(self) -> tuple[int, ...]:
        """The shape as [in, out], as [out], or as it is; a part of a fused tensor that is no matrix is a vector."""
        if self.ins:
            return math.prod(self.shape[: self.ins]), math.prod(self.shape[self.ins :])
        return self.shape if self.ins is None and self.at.part[1] == 1 else (math.prod(self.shape),)

    def found_as(self, name: str) -> "Piece":
        """The same piece, under the name that its tensor has in one file."""
        return dataclasses.replace(self, at=dataclasses.replace(self.at, name=name))

    def file_shape(self) -> tuple[int, ...]:
        """The shape that the file's tensor must have, but for axes of size 1."""
        (_, parts), matrix = self.at.part, self.matrix
        if self.at.axes is not None:
            return tuple(self.shape[self.at.axes.index(i)] for i in range(len(self.shape)))
        wide = (*matrix[:-1], matrix[-1] * parts) if parts > 1 else matrix
        return wide[::-1] if self.ins and self.at.layout == "out_in" else wide

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """The piece as the file has it, as a view; the parts of a fused tensor lie along the axis `joined`."""
        if self.at.axes is not None:
            return array.transpose(np.argsort(self.at.axes))
        array = array.reshape(self.matrix)
        return array.T if self.ins and self.at.layout == "out_in" else array

    @property
    def joined(self) -> int:
        """Along which axis of the file's tensor parts lie side by side."""
        return 1 if self.ins and self.at.layout == "in_out" else 0


def pieces(shapes: Mapping[str, tuple[int, ...]], names: Names, sublayers: int, layers: Sequence[Layer]) -> list[Piece]:
    """Every parameter, by its path, as pieces of a file.

    sublayers: how many of the network's make one of the file's layers.  layers: the network's, in the order of the run.
    Raises XfmError for a parameter that the table does not place.
    """
    modules: dict[str, list[tuple[Layer, int]]] = {}
    counts: collections.Counter[str] = collections.Counter()
    for layer in layers:
        modules.setdefault(layer.path, []).append((layer, counts[layer.group]))
        counts[layer.group] += 1
    above, found = counts["layer"] // sublayers, []
    for path, shape in shapes.items():
        names_above = path.split("/")
        module = next((m for i in range(len(names_above)) if (m := "/".join(names_above[:i])) in modules), None)
        if module is None:
            found.append(_piece(path, None, shape, (path,), names, above))
            continue
        kind, rest = module.rpartition("/")[2].rpartition("_")[0], path[len(module) + 1 :]
        for layer, number in modules[module]:
            root, inside = GROUP.fullmatch(layer.group).groups()
            places = tuple(f"{root}/{name}{number % sublayers}/{rest}" for name in (f"{kind}_", ""))
            numbers = (*([int(inside)] if inside else []), number // sublayers)
            own, index = (shape[1:], layer.index) if layer.stacked else (shape, None)
            found.append(_piece(path, index, own, places, names, *numbers))
    return found


def _row(place: str, names: Names) -> At | None:
    """The row of a parameter, or that of the nearest module above it with the rest of the place added."""
    if place in names:
        return _at(names[place])
    module, _, leaf = place.rpartition("/")
    inside: list[str] = []
    while module:
        if module in names:
            row = _at(names[module])
            return dataclasses.replace(row, name=".".join([row.name, *inside, LEAVES.get(leaf, leaf)]))
        module, _, last = module.rpartition("/")
        inside.insert(0, last)
    return None


def _at(row: str | At) -> At:
    return At(row) if isinstance(row, str) else row


def _piece(path: str, layer: int | None, shape, places: tuple[str, ...], names: Names, *numbers: int) -> Piece:
    """The piece by the row of the first of `places` that has one."""
    place, leaf = places[-1], path.rpartition("/")[2]
    at = next((row for row in (_row(one, names) for one in places) if row is not None), None)
    if at is None:
        raise XfmError(f"the parameter {path} has no name in the files of this family; its table lacks {place}")
    ins = None
    if leaf.endswith("bias") and at.axes is None:
        ins = 0
    elif leaf == "kernel" and at.axes is None:
        ins = 2 if place.split("/")[-2] == "o" and len(shape) > 2 else 1
    return Piece(path, layer, tuple(shape), dataclasses.replace(at, name=at.name.format(*numbers)), ins)
