"""The names of parameters in the Hub's files, by one table per family, which is used for reading and for writing.

A row of a table is `key: name in the file`:

    "embed/word": "embeddings.word_embeddings",
    "layer/0/part/q": "encoder.layer.{}.attention.self.query",

The key is the path of a module or of a single parameter in xfm, except that `layer/0`, `layer/1`, … are the sublayers
of one layer of the file, in whichever part of the stack (prologue, layers, epilogue) they are; `{}` in the name is the
number of that layer. If names depend on the kind of part, `layer/mlp_1` and `layer/glu_1` are the second sublayer of
either kind, and `layer/1` is used for keys that these lack. In a row that is not about layers, `{}` is the number of
layers. `embed/cls/0`, `embed/cls/1`, … are the tokens of a parameter [1 tokens D] that the file has as a tensor each,
and `embed/cls/rest` all that have no such row, which are one tensor.

Layers may be in numbered groups: the blocks of a funnel, the stages of a pyramid. `stage/0` and `stage/1` are the
sublayers of one layer of any stage, and their names have two numbers, of the stage and of the layer in it. `stage/down`
is the part `down` of any stage, and its name has the stage's number; a key such as `stage_1/down`, of one stage, goes
before it, and so does `stage_1/0`. `{before}` in a name is the number of the stage before, where files count a part
with that one; `{next}` is the number of the next layer, where files count a part between stages as the first layer.

`each/PATH` is a parameter or module that is stacked along the layers but no sublayer, such as the map between two of a
layer's sublayers; `{}` in its name is the number of the layer.

Below a module, the leaves `kernel`, `scale`, `embedding` and `table` are called `weight` in the file, `mean` and
`variance` of batch norms `running_mean` and `running_var`, and other leaves have the same name.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Literal

import numpy as np

from xfm.errors import XfmError
from xfm.structures.base import Layer

Index = int | tuple[int | slice | EllipsisType, ...] | None
LEAVES = {
    "kernel": "weight", "scale": "weight", "embedding": "weight", "table": "weight",
    "mean": "running_mean", "variance": "running_var",
}  # fmt: skip
GROUP = re.compile(r"((?:\w+/)?[a-z]+)_?(\d*)")  # layers that are numbered together: "layer", "block_1", "text/layer"


@dataclasses.dataclass(frozen=True)
class At:
    """A name in the file, with the transformation from the file's array to xfm's.

    part: (i, n) for the i-th of n equal parts of the file's output features, if the file fuses several linear maps.
    layout: of a matrix in the file: "out_in", as in PyTorch's Linear, or "in_out".
    axes: for convolutions, in place of `layout`: the file's axes in xfm's order.
    sides: the lengths of these axes in xfm's order, such as (P, P, C, D), if xfm's array has others; -1 for the rest.
    Without them, axes that xfm's array does not have are of length 1.
    merged: the number of leading axes of xfm's array that are one axis in the file, as those of a table over a grid.
    heads: in what the parts of a fused tensor stand one after the other: in the whole, or in each head.
    first: added to the number of the layer, where files count the layers of all stages in one row.
    folded: the shape of the file's tensor, if several axes of `sides` are one axis there after they are transposed.
    """

    name: str
    part: tuple[int, int] = (0, 1)
    layout: str = "out_in"
    axes: tuple[int, ...] | None = None
    sides: tuple[int, ...] | None = None
    merged: int = 0
    heads: Literal["whole", "each"] = "whole"
    first: int = 0
    folded: tuple[int, ...] | None = None


Names = Mapping[str, str | At]


def prefixed(names: Names, prefix: str) -> dict[str, str | At]:
    """The table with a prefix before each name in the files."""
    return {
        path: f"{prefix}{name}" if isinstance(name, str) else dataclasses.replace(name, name=f"{prefix}{name.name}")
        for path, name in names.items()
    }


@dataclasses.dataclass(frozen=True)
class Piece:
    """One parameter, or one layer of a stacked parameter, and its tensor in the file.

    path: of the parameter.  layer: its index in the parameter, along the leading axis if layers are stacked; None for
    the whole.
    shape: of the piece in xfm.  at: the complete name in the file.
    ins: the number of leading axes that are inputs of a linear map, 0 for its bias; None for other parameters.
    """

    path: str
    layer: Index
    shape: tuple[int, ...]
    at: At
    ins: int | None

    @property
    def matrix(self) -> tuple[int, ...]:
        """The shape [in, out] of a linear map or [out] of its bias; other parameters keep their shape, or are flattened
        if they are a part of a fused tensor.
        """
        if self.ins:
            return math.prod(self.shape[: self.ins]), math.prod(self.shape[self.ins :])
        return self.shape if self.ins is None and self.at.part[1] == 1 else (math.prod(self.shape),)

    @property
    def sides(self) -> tuple[int, ...]:
        """The lengths of the axes of a tensor that is transposed, in xfm's order."""
        whole = (-1, *self.shape[self.at.merged :]) if self.at.merged else self.shape
        given = self.at.sides or (*whole, *(1,) * (len(self.at.axes) - len(whole)))
        known = math.prod(side for side in given if side > 0)
        return tuple(math.prod(self.shape) // known if side < 0 else side for side in given)

    def found_as(self, name: str) -> "Piece":
        """A copy in which the tensor has another name, the one in a particular file."""
        return dataclasses.replace(self, at=dataclasses.replace(self.at, name=name))

    def file_shape(self) -> tuple[int, ...]:
        """The shape that the file's tensor must have, up to axes of size 1."""
        (_, parts), matrix = self.at.part, self.matrix
        if self.at.folded is not None:
            return self.at.folded
        if self.at.axes is not None:
            sides = self.sides
            return tuple(sides[self.at.axes.index(i)] for i in range(len(sides)))
        wide = (*matrix[:-1], matrix[-1] * parts) if parts > 1 else matrix
        return wide[::-1] if self.ins and self.at.layout == "out_in" else wide

    def to_file(self, array: np.ndarray) -> np.ndarray:
        """A view of the piece with the file's layout; the parts of a fused tensor are concatenated along `joined`.

        A tensor that is `folded` in the file has its axes apart here.
        """
        if self.at.axes is not None:
            return array.reshape(self.sides).transpose(np.argsort(self.at.axes))
        array = array.reshape(self.matrix)
        return array.T if self.ins and self.at.layout == "out_in" else array

    @property
    def joined(self) -> int:
        """The axis of the file's tensor along which parts are concatenated."""
        return 1 if self.ins and self.at.layout == "in_out" else 0


def pieces(
    shapes: Mapping[str, tuple[int, ...]], names: Names, sublayers: int | Mapping[str, int], layers: Sequence[Layer]
) -> list[Piece]:
    """All parameters as pieces of a file.

    shapes: path of a parameter -> its shape.  names: the table.  layers: of the network; see `Structure.layers`.
    sublayers: the number of xfm's sublayers that make one layer of the file; where they differ, by group, or by what
    the names of several groups begin with, as "stage_0" and "stage".
    Raises XfmError for a parameter that the table does not name.
    """
    modules: dict[str, list[tuple[Layer, int]]] = {}
    counts: collections.Counter[str] = collections.Counter()
    for layer in layers:
        modules.setdefault(layer.path, []).append((layer, counts[layer.group]))
        counts[layer.group] += 1
    numbered = {group: GROUP.fullmatch(group).groups() for group in counts}
    sizes = {
        group: sublayers if isinstance(sublayers, int) else sublayers.get(group, sublayers.get(root))
        for group, (root, _) in {**numbered, "layer": ("layer", "")}.items()
    }
    above, found = counts["layer"] // (sizes["layer"] or 1), []
    for path, shape in shapes.items():
        names_above = path.split("/")
        module = next((m for i in range(len(names_above)) if (m := "/".join(names_above[:i])) in modules), None)
        if module is None and f"{path}/0" in names:
            found += _tokens(path, shape, names)
            continue
        if module is None and _row(f"each/{path}", names) is not None:
            found += [_piece(path, i, shape[1:], (f"each/{path}",), names, i) for i in range(shape[0])]
            continue
        if module is None:
            root, number = numbered.get(names_above[0], ("", ""))
            keys, count = ((path, "/".join((root, *names_above[1:]))), int(number)) if number else ((path,), above)
            found.append(_piece(path, None, shape, keys, names, count))
            continue
        kind, rest = module.rpartition("/")[2].rpartition("_")[0], path[len(module) + 1 :]
        for layer, number in modules[module]:
            root, inside = numbered[layer.group]
            kinds, groups = (f"{kind}_", ""), dict.fromkeys((layer.group, root))
            size = sizes[layer.group]
            keys = tuple(f"{group}/{name}{number % size}/{rest}" for group in groups for name in kinds)
            numbers = (*([int(inside)] if inside else []), number // size)
            own, index = (shape[1:], layer.index) if layer.stacked else (shape, None)
            found += _by_heads(_piece(path, index, own, keys, names, *numbers))
    return found


def _by_heads(piece: Piece) -> list[Piece]:
    """The piece itself, or where the file has the parts of each head together, that of each of the N heads.

    The kernels of queries, keys and values are [D N H], and their biases [N H].
    """
    if piece.at.heads == "whole":
        return [piece]
    (i, parts), N = piece.at.part, piece.shape[-2]
    shape, first = (*piece.shape[:-2], piece.shape[-1]), () if piece.layer is None else (piece.layer,)
    return [
        dataclasses.replace(
            piece,
            layer=(*first, ..., n, slice(None)),
            shape=shape,
            at=dataclasses.replace(piece.at, part=(n * parts + i, N * parts)),
        )
        for n in range(N)
    ]


def _tokens(path: str, shape: tuple[int, ...], names: Names) -> list[Piece]:
    """The pieces of a parameter [1 tokens D], of which the file has a tensor each; or one of the last ones together."""
    alone = next((i for i in range(shape[1]) if f"{path}/{i}" not in names), shape[1])
    found = [_piece(path, (0, i), shape[2:], (f"{path}/{i}",), names) for i in range(alone)]
    rest = (shape[1] - alone, *shape[2:])
    return found + ([_piece(path, (0, slice(alone, None)), rest, (f"{path}/rest",), names)] if rest[0] else [])


def _row(key: str, names: Names) -> At | None:
    """The row of a parameter, or that of the closest enclosing module with the rest of the path appended."""
    if key in names:
        return _at(names[key])
    module, _, leaf = key.rpartition("/")
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


def _piece(path: str, layer: Index, shape, keys: tuple[str, ...], names: Names, *numbers: int) -> Piece:
    """The piece by the row of the first of `keys` that has one.

    numbers: they replace `{}` in the row's name; the one before the first of them replaces `{before}`, the one after
    the last `{next}`.
    """
    key, leaf = keys[-1], path.rpartition("/")[2]
    at = next((row for row in (_row(one, names) for one in keys) if row is not None), None)
    if at is None:
        raise XfmError(f"the parameter {path} has no name in the files of this family; its table lacks {key}")
    ins = None
    if leaf.endswith("bias") and at.axes is None:
        ins = 0
    elif leaf == "kernel" and at.axes is None:
        ins = 2 if key.split("/")[-2] == "o" and len(shape) > 2 else 1
    numbers = (*numbers[:-1], *(number + at.first for number in numbers[-1:]))
    beside = dict(before=numbers[0] - 1, next=numbers[-1] + 1) if numbers else {}
    name = at.name.format(*numbers, **beside)
    return Piece(path, layer, tuple(shape), dataclasses.replace(at, name=name), ins)
