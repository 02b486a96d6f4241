"""Reads parameters from files, after checking that every parameter has a tensor and every tensor has a use."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from xfm.errors import XfmError
from xfm.hub.family import Family, Head
from xfm.hub.files import Tensors
from xfm.hub.naming import At, Piece, pieces
from xfm.initial import initial_shapes, shapes_only
from xfm.structures.base import Layer

ALIGNED = 64  # bytes: the alignment with which XLA uses an array of the host without copying it
SHOWN = 8  # the number of names that an error lists
EXAMPLE = 8  # tokens of a row with which a network is traced
WRITTEN = {"F16": "float16", "BF16": "bfloat16", "float16": "float16", "bfloat16": "bfloat16"}


def held(family: Family, tensors: Tensors) -> dict[str, Head]:
    """The heads that a file has tensors for, and those without parameters, by the Hub's names of tasks."""
    names = {family.today(name) for name in tensors}

    def there(row: str | At) -> bool:
        row = row.name if isinstance(row, At) else row
        return row not in family.files.tied and any(name == row or name.startswith(f"{row}.") for name in names)

    return {
        task: head
        for task, head in family.heads.items()
        if not head.names or any(there(row) for row in head.names.values())
    }


def assign(
    family: Family, heads: Mapping[str, Head], layers: Sequence[Layer], shapes: Mapping[str, Any], tensors: Tensors
) -> tuple[dict[str, list[Piece]], dict[str, str]]:
    """The pieces of each parameter, by its path, with names as in the file; and for each unused tensor the reason.

    heads: those to load.  layers: of the network.  shapes: path of a parameter -> its shape.  tensors: the file's.
    Raises XfmError if tensors are missing, are there without a use, or have another shape.
    """
    wanted = pieces({p: x.shape for p, x in shapes.items()}, family.rows(heads), family.sublayers, layers)
    known = {}
    for name in tensors:
        if (today := family.today(name)) in known:
            raise XfmError(
                f"the file has both {known[today]} and {name}, which are names of the same tensor of "
                f"{family.model_type}; it is damaged"
            )
        known[today] = name
    used = {piece.at.name for piece in wanted}
    missing = sorted(used - set(known))
    if missing:
        raise XfmError(f"the file lacks {_some(missing)}, which this {family.model_type} needs")
    spare = {name: _spare(family, heads, name) for name in known if name not in used}
    left = [name for name, why in spare.items() if why is None]
    if left:
        raise XfmError(f"the file has {_some(left)}, which {family.model_type} with these heads does not use")
    for name in family.files.tied:
        _check_tied(family, name, used, known, tensors)

    found: dict[str, list[Piece]] = {path: [] for path in shapes}
    differing = []
    for piece in wanted:
        name = known[piece.at.name]
        has, needs = tuple(tensors.shape(name)), piece.file_shape()
        if [size for size in has if size != 1] != [size for size in needs if size != 1]:
            differing.append((piece.path, f"{name} has the shape {has} in the file, but {needs} by config.json"))
            continue
        tensors.check(name)
        found[piece.path].append(piece.found_as(name))
    if differing:
        raise XfmError(_some([what for _, what in differing], 2) + _way_out(heads, [path for path, _ in differing]))
    return found, {known[name]: why for name, why in spare.items()}


def _way_out(heads: Mapping[str, Head], paths: Sequence[str]) -> str:
    """What to do about tensors of another shape, if all of them belong to heads; nothing if some do not."""
    tasks = {task for task, head in heads.items() if any(path.startswith(f"head_{head.name}/") for path in paths)}
    if not all(path.startswith(tuple(f"head_{heads[task].name}/" for task in tasks)) for path in paths):
        return ""
    return (
        f"; only the head {', '.join(sorted(tasks))} differs, so correct the number of classes in config.json, or load "
        "the checkpoint without heads by head='none'"
    )


def _spare(family: Family, heads: Mapping[str, Head], name: str) -> str | None:
    """The reason why a tensor may be unused: the family ignores it, or its head is not loaded; None if it may not."""
    if name in family.files.tied:
        return f"it repeats {family.files.tied[name]}"
    for pattern, why in family.files.ignored.items():
        if re.fullmatch(pattern, name):
            return why
    for task, head in family.heads.items():
        rows = [row.name if isinstance(row, At) else row for row in head.names.values()]
        if task in heads and heads[task].names != head.names and name in rows:
            return "config.json does not tie the head to the embedding, so another tensor is used"
        if task not in heads and any(name == row or name.startswith(f"{row}.") for row in rows):
            return f"it belongs to the head {task}, which is not loaded"
    return None


def _check_tied(family: Family, name: str, used: set[str], known: Mapping[str, str], tensors: Tensors) -> None:
    """Raises XfmError if an unused tensor differs from the used one to which the family ties it."""
    other = family.files.tied[name]
    if name in used or name not in known or other not in known or other not in used:
        return
    if not _equal(tensors, known[name], known[other]):
        raise XfmError(
            f"{known[name]} differs from {known[other]}, although config.json ties them; if the model was trained like "
            'this, set "tie_word_embeddings": false there'
        )


def _equal(tensors: Tensors, one: str, other: str) -> bool:
    if tensors.shape(one) != tensors.shape(other):
        return False
    pairs = zip(tensors.blocks(one), tensors.blocks(other), strict=True)
    return all(np.array_equal(a, b) for (_, a), (_, b) in pairs)


def fill(
    shapes: Mapping[str, Any],
    assigned: Mapping[str, list[Piece]],
    tensors: Tensors,
    place: Callable[[str, np.ndarray], Any],
) -> dict[str, Any]:
    """The parameters as a nested dict; each is read into one array on the host and passed to `place(path, array)`.

    Beside the parameters themselves, at most one block of a tensor is in memory.
    """
    flat = {}
    for path, shape in shapes.items():
        array = _aligned(shape.shape, shape.dtype)
        for piece in assigned[path]:
            _read(piece, tensors, array if piece.layer is None else array[piece.layer])
        flat[path] = place(path, array)
    return traverse_util.unflatten_dict(flat, sep="/")


def _read(piece: Piece, tensors: Tensors, target: np.ndarray) -> None:
    """Fills `target` through a view with the file's layout, block by block, so that each stays in the cache."""
    (i, parts), name = piece.at.part, piece.at.name
    view = np.atleast_1d(piece.to_file(target))
    if piece.at.folded is not None:
        whole = np.concatenate([block for _, block in tensors.blocks(name)])
        view[...] = held_in(view.dtype, whole, name).reshape(view.shape)
        return
    if parts == 1:
        view = view.reshape(tensors.shape(name) or (1,))
    size = view.shape[piece.joined]
    if piece.joined == 0:
        for rows, block in tensors.blocks(name, i * size, (i + 1) * size):
            view[rows] = held_in(view.dtype, block, name)
    else:
        for rows, block in tensors.blocks(name):
            view[rows] = held_in(view.dtype, block[:, i * size : (i + 1) * size], name)


def held_in(dtype: np.dtype, block: np.ndarray, name: str) -> np.ndarray:
    """The block as numbers that `dtype` can represent. Raises XfmError, naming the tensor, if one is too large."""
    if block.dtype.itemsize <= dtype.itemsize:
        return block
    with np.errstate(over="ignore"):
        cast = block.astype(dtype)
    if not np.isfinite(cast).all():
        raise XfmError(f"{name} has {np.abs(block).max():.3g}, which is too large for {dtype.name}")
    return cast


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array whose memory is aligned for XLA."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return raw[start : start + size].view(dtype).reshape(shape)


def file_arrays(
    family: Family, heads: Mapping[str, Head], layers: Sequence[Layer], params: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The arrays of a file of this family, by name, from parameters: the exact inverse of `fill`."""
    flat = traverse_util.flatten_dict(params, sep="/")
    named = file_pieces(family, heads, layers, {path: x.shape for path, x in flat.items()})
    return {name: joined(found, flat) for name, found in named.items()}


def file_pieces(
    family: Family,
    heads: Mapping[str, Head],
    layers: Sequence[Layer],
    shapes: Mapping[str, tuple[int, ...]],
    prefixes: tuple[str, str] | None = None,
) -> dict[str, list[Piece]]:
    """The pieces of each tensor of a file, in the order in which they are concatenated.

    layers: of the network.  shapes: path of a parameter -> its shape.  prefixes: as in `before_names`.
    """
    found: dict[str, list[Piece]] = {}
    before = before_names(family, heads, prefixes)
    for piece in pieces(shapes, family.rows(heads), family.sublayers, layers):
        head = next((h for h in heads.values() if piece.path.startswith(f"head_{h.name}/")), None)
        inside = (head is None or head.of_encoder) and not re.match(family.files.beside, piece.at.name)
        found.setdefault(f"{before}{piece.at.name}" if inside else piece.at.name, []).append(piece)
    return {name: sorted(parts, key=lambda piece: piece.at.part) for name, parts in found.items()}


def before_names(family: Family, heads: Mapping[str, Head], prefixes: tuple[str, str] | None = None) -> str:
    """The prefix of the encoder's names in a file with these heads: the family's if it has a head, else none.

    prefixes: other prefixes to use, in a file with a head and in one without.
    """
    with_head, without = prefixes or (family.prefix, "")
    return with_head if any(not head.of_encoder for head in heads.values()) else without


def prefixes_of(
    family: Family, heads: Mapping[str, Head], assigned: Mapping[str, list[Piece]], tensors: Tensors
) -> tuple[str, str]:
    """The prefixes of the encoder's names for files with a head and without one, as far as these files show them.

    The files show one of the two; the other is the family's usual one.  heads: those that are loaded.
    """
    names = [piece.at.name for path, parts in assigned.items() if path[:5] != "head_" for piece in parts]
    names = [name for name in names if not re.match(family.files.beside, name)]
    before = next((name.removesuffix(today) for name in names if name.endswith(today := family.today(name))), "")
    own = [head for head in held(family, tensors).values() if head.names]
    with_head = any(not head.of_encoder for head in (*own, *heads.values()))
    return (before, "") if with_head else (family.prefix, before)


def dtypes_in(family: Family, tensors: Tensors) -> dict[str, str]:
    """The dtype of each tensor of the files, by its current name; float32 for dtypes that `save` does not write."""
    return {family.today(name): WRITTEN.get(tensors.dtype(name), "float32") for name in tensors}


def joined(parts: list[Piece], flat: Mapping[str, Any]) -> np.ndarray:
    """One tensor of a file, concatenated from its pieces.  flat: path -> parameter."""

    def of(piece: Piece) -> np.ndarray:
        array = flat[piece.path]
        return piece.to_file(np.asarray(array if piece.layer is None else array[piece.layer]))

    arrays = [of(piece) for piece in parts]
    if (folded := parts[0].at.folded) is not None:
        return np.ascontiguousarray(arrays[0]).reshape(folded)
    return np.asarray(arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=parts[0].joined), order="C")


def _some(names: Iterable[str], most: int = SHOWN) -> str:
    """The first of the names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def flat_shapes(model: Any, example: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape of every parameter of a network, by its path, without computing anything.

    example: a batch for the network.
    """
    return traverse_util.flatten_dict(initial_shapes(model, example)["params"], sep="/")


def hidden_width(model: Any) -> int:
    """D of a network's output `hidden` [B T D], without computing anything.

    Raises XfmError if it does not have one vector for each token, so that no vector of a text can be made of them.
    """
    row = {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in model.row(EXAMPLE).items()}
    with shapes_only():
        out, _ = jax.eval_shape(lambda row: model.init_with_output(jax.random.key(0), row), row)
    if out["hidden"].shape[:2] != (1, EXAMPLE):
        raise XfmError("this network has fewer outputs than tokens, so they cannot be pooled to a vector for each text")
    return out["hidden"].shape[2]
