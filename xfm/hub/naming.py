"""One table per family says what each parameter is called in the Hub's files; here it is read in both directions.

A table's row is `place in xfm: name in the file`. A place is a module or a single parameter; `layer/0`, `layer/1`, … are
the sublayers of one of the file's layers, wherever the stack keeps them, and `{}` in a name is the layer's number:

    "embed/word": "embeddings.word_embeddings",
    "layer/0/part/q": "encoder.layer.{}.attention.self.query",

Below a module, `kernel`, `scale`, `embedding` and `table` are the file's `weight`, and other leaves keep their name.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from xfm.errors import XfmError

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "table": "weight"}
IN_STACK = re.compile(r"(prologue|layers|epilogue)/\w*?_(\d+)/(.*)")


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
    matrix; None if it is none.
    """

    path: str
    layer: int | None
    shape: tuple[int, ...]
    at: At
    ins: int | None

    @property
    def matrix(self) -> tuple[int, ...]:
        """The shape as [in, out] or [out]."""
        if self.ins is None:
            return self.shape
        return math.prod(self.shape[: self.ins]), math.prod(self.shape[self.ins :])

    def found_as(self, name: str) -> "Piece":
        """The same piece, under the name that its tensor has in one file."""
        return dataclasses.replace(self, at=dataclasses.replace(self.at, name=name))

    def file_shape(self) -> tuple[int, ...] | None:
        """The shape that the file's tensor must have; None where only the number of its elements is known."""
        (_, parts), matrix = self.at.part, self.matrix
        if self.at.axes is not None:
            return tuple(self.shape[self.at.axes.index(i)] for i in range(len(self.shape)))
        if self.ins is None:
            return None if parts == 1 else (matrix[0] * parts, *matrix[1:])
        wide = (matrix[0], matrix[1] * parts)
        return wide[::-1] if self.at.layout == "out_in" else wide

    def from_file(self, array: np.ndarray) -> np.ndarray:
        """The piece, as a view where that is possible."""
        i, parts = self.at.part
        if self.at.axes is not None:
            return array.transpose(self.at.axes)
        if self.ins is None:
            return np.split(array, parts)[i].reshape(self.shape) if parts > 1 else array.reshape(self.shape)
        array = array.T if self.at.layout == "out_in" else array
        return (np.split(array, parts, axis=1)[i] if parts > 1 else array).reshape(self.shape)

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """The piece as the file has it; the parts of a fused tensor are joined along the axis `joined`."""
        if self.at.axes is not None:
            return array.transpose(np.argsort(self.at.axes))
        array = array.reshape(self.matrix)
        return array.T if self.ins is not None and self.at.layout == "out_in" else array

    @property
    def joined(self) -> int:
        """Along which axis of the file's tensor parts lie side by side."""
        return 1 if self.ins is not None and self.at.layout == "in_out" else 0


def pieces(shapes: Mapping[str, tuple[int, ...]], names: Names, sublayers: int, spec: Mapping[str, Any]) -> list[Piece]:
    """Every parameter, by its path, as pieces of a file.

    sublayers: how many of the stack's make one of the file's layers.  spec: of the stack.
    Raises XfmError for a parameter that the table does not place.
    """
    found = []
    for path, shape in shapes.items():
        stacked = IN_STACK.fullmatch(path)
        if stacked is None:
            found.append(_piece(path, None, shape, path, names, ()))
            continue
        where, index, rest = stacked[1], int(stacked[2]), stacked[3]
        place = f"layer/{index % sublayers}/{rest}"
        period, before = len(spec["pattern"]) // sublayers, len(spec.get("prologue", ())) // sublayers
        first = {"prologue": 0, "layers": before, "epilogue": before + spec.get("repeats", 1) * period}[where]
        if where != "layers":
            found.append(_piece(path, None, shape, place, names, (first + index // sublayers,)))
            continue
        for repeat in range(shape[0]):
            layer = first + repeat * period + index // sublayers
            found.append(_piece(path, repeat, shape[1:], place, names, (layer,)))
    return found


def _piece(path, layer, shape, place, names: Names, numbers) -> Piece:
    module, _, leaf = place.rpartition("/")
    inside = []
    at = names.get(place)
    while at is None and module:  # the row of the nearest module above
        row = names.get(module)
        if row is not None:
            row = At(row) if isinstance(row, str) else row
            at = dataclasses.replace(row, name=".".join([row.name, *inside, LEAVES.get(leaf, leaf)]))
        module, _, last = module.rpartition("/")
        inside.insert(0, last)
    if at is None:
        raise XfmError(f"the parameter {path} has no name in the files of this family; its table lacks {place}")
    at = At(at) if isinstance(at, str) else at
    ins = None
    if leaf == "kernel" and at.axes is None:
        ins = 2 if place.split("/")[-2] == "o" and len(shape) > 2 else 1
    return Piece(path, layer, tuple(shape), dataclasses.replace(at, name=at.name.format(*numbers)), ins)
