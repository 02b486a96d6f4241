"""Parameters filled from a file: every tensor accounted for, both ways, before a number is read."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from xfm.errors import XfmError
from xfm.hub.family import Family, Head
from xfm.hub.files import Tensors
from xfm.hub.naming import At, Piece, pieces

ALIGNED = 64  # bytes: what XLA needs to take an array of the host as it is
SHOWN = 8  # names in a message


def held(family: Family, tensors: Tensors) -> dict[str, Head]:
    """The heads of which the file holds something of their own, by the Hub's names of tasks."""
    names = {family.today(name) for name in tensors}

    def there(row: str | At) -> bool:
        row = row.name if isinstance(row, At) else row
        return row not in family.tied and any(name == row or name.startswith(f"{row}.") for name in names)

    return {task: head for task, head in family.heads.items() if any(there(row) for row in head.names.values())}


def assign(
    family: Family, heads: Mapping[str, Head], spec: Mapping[str, Any], shapes: Mapping[str, Any], tensors: Tensors
) -> dict[str, list[Piece]]:
    """For each parameter's path its pieces, with names as they stand in the file.

    Raises XfmError that lists what is missing, what is there and not wanted, and what has another shape.
    """
    wanted = pieces({p: x.shape for p, x in shapes.items()}, family.rows(heads), family.sublayers, spec)
    known = {}
    for name in tensors:
        if (today := family.today(name)) in known:
            raise XfmError(
                f"the file holds {known[today]} and {name}, which are one and the same tensor of {family.model_type}"
            )
        known[today] = name
    used = {piece.at.name for piece in wanted}
    missing = sorted(used - set(known))
    if missing:
        raise XfmError(f"the file lacks {_some(missing)}, which this {family.model_type} needs")
    left = [name for name in known if name not in used and not _spare(family, heads, name)]
    if left:
        raise XfmError(f"the file holds {_some(left)}, of which {family.model_type} with these heads makes no use")
    for name in family.tied:
        _check_tied(family, name, used, known, tensors)

    found: dict[str, list[Piece]] = {path: [] for path in shapes}
    for piece in wanted:
        name = known[piece.at.name]
        has, needs = tuple(tensors.shape(name)), piece.file_shape()
        if has != needs if needs is not None else np.prod(has) != np.prod(piece.shape):
            raise XfmError(f"{name} has shape {has} in the file; config.json makes it {needs or piece.shape}")
        found[piece.path].append(piece.found_as(name))
    return found


def _spare(family: Family, heads: Mapping[str, Head], name: str) -> bool:
    """Whether a tensor may be there unused: it is a head's that was not asked for, or the table says why."""
    if name in family.tied or any(re.fullmatch(pattern, name) for pattern in family.ignored):
        return True
    others = [head for head in family.heads.values() if head.name not in {h.name for h in heads.values()}]
    rows = [row.name if isinstance(row, At) else row for head in others for row in head.names.values()]
    return any(name == row or name.startswith(f"{row}.") for row in rows)


def _check_tied(family: Family, name: str, used: set[str], known: Mapping[str, str], tensors: Tensors) -> None:
    other = family.tied[name]
    if name in used or name not in known or other not in known or other not in used:
        return
    if not np.array_equal(tensors.read(known[name]), tensors.read(known[other])):
        raise XfmError(
            f"{known[name]} differs from {known[other]}, though config.json ties the two; if the model was trained so, "
            'set "tie_word_embeddings": false there'
        )


def fill(
    shapes: Mapping[str, Any],
    assigned: Mapping[str, list[Piece]],
    tensors: Tensors,
    place: Callable[[str, np.ndarray], Any],
) -> dict[str, Any]:
    """The parameters as a nested dict, each read into one array of the host and handed to `place(path, array)`."""
    flat = {}
    for path, shape in shapes.items():
        array = _aligned(shape.shape, shape.dtype)
        for piece in assigned[path]:
            target = array if piece.layer is None else array[piece.layer]
            np.copyto(target, piece.from_file(tensors.read(piece.at.name)), casting="same_kind")
        flat[path] = place(path, array)
    return traverse_util.unflatten_dict(flat, sep="/")


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return raw[start : start + size].view(dtype).reshape(shape)


def file_arrays(
    family: Family, heads: Mapping[str, Head], spec: Mapping[str, Any], params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The parameters as a file of this family holds them: the way back of `fill`, exact to the bit."""
    flat = traverse_util.flatten_dict(params, sep="/")
    found: dict[str, dict[int, np.ndarray]] = {}
    joins: dict[str, int] = {}
    wrapped = any(not head.of_encoder for head in heads.values())
    for piece in pieces({p: x.shape for p, x in flat.items()}, family.rows(heads), family.sublayers, spec):
        array = np.asarray(flat[piece.path])
        array = piece.to_file(array if piece.layer is None else array[piece.layer])
        head = next((h for h in heads.values() if piece.path.startswith(f"head_{h.name}/")), None)
        inside = wrapped and (head is None or head.of_encoder)
        name = f"{family.prefix}{piece.at.name}" if inside else piece.at.name
        found.setdefault(name, {})[piece.at.part[0]] = array
        joins[name] = piece.joined
    return {
        name: np.ascontiguousarray(np.concatenate([parts[i] for i in sorted(parts)], axis=joins[name]))
        for name, parts in found.items()
    }


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def flat_shapes(model: Any, example: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """Path -> shape of every parameter of a network; nothing is computed."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)["params"]
    return traverse_util.flatten_dict(shapes, sep="/")
