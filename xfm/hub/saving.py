"""Saves a checkpoint as a folder that transformers and sentence-transformers can load.

It holds model.safetensors (or several files and their index), config.json, unchanged copies of the files of its
tokeniser and image processor, and a card. The folder is complete or does not exist at all.
"""

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from flax import traverse_util

from xfm.errors import XfmError, nearest
from xfm.folders import line
from xfm.hub.card import card
from xfm.hub.naming import Piece
from xfm.hub.settings import Settings
from xfm.hub.weights import before_names, file_pieces, joined

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
HELD = {**DTYPES, "int64": np.int64}  # with that of counters
LARGEST = 5_000_000_000  # bytes of one file of weights
# Files that are copied from the folder of the loaded checkpoint: those of its tokeniser, its image processor and a
# sentence encoder.
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "*.model", "preprocessor_config.json", "processor_config.json",
    "video_preprocessor_config.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "[0-9]_*/config.json",
    "[0-9]_*/model.safetensors",
)  # fmt: skip
WRITTEN = ("config.json", "README.md", "model.safetensors.index.json", "model.safetensors", "model-*.safetensors")


def save(
    checkpoint: Any,
    path: str | Path,
    *,
    dtype: str | None = None,
    largest: int = LARGEST,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a Checkpoint to the folder `path`, and returns it. The folder may be new, empty, or another checkpoint,
    which is replaced.

    dtype: of the numbers in the files, "float32", "float16" or "bfloat16". If None, it is that of the parameters; if
    that is float32, in which all files are loaded, each tensor gets the dtype that it had in its file.
    largest: the most bytes of one file of weights; larger checkpoints have several files.
    about: facts for the card, see `xfm.hub.card`.

    Raises XfmError, and leaves `path` as it was, if the folder holds files that are not of a checkpoint, if numbers
    exceed the range of the dtype, or if the disk is full.
    """
    if dtype is not None and dtype not in DTYPES:
        raise XfmError(f"weights cannot be saved as {dtype!r}{nearest(dtype, DTYPES)}; give one of {', '.join(DTYPES)}")
    if not checkpoint.family.names:
        raise XfmError(f"no family of the Hub has the network of {checkpoint.folder}, so it cannot be saved like one")
    flat, path = traverse_util.flatten_dict(checkpoint.params, sep="/"), Path(path).expanduser()
    with replacing(path) as folder:
        copy(checkpoint.folder, folder)
        found = write_weights(checkpoint, flat, folder, dtype, largest)
        config = config_of(checkpoint, found)
        (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        text = card(checkpoint, config, sum(x.size for x in flat.values()), about or {})
        (folder / "README.md").write_text(text, encoding="utf-8")
    return path


def config_of(checkpoint: Any, dtype: str) -> dict[str, Any]:
    """The config.json of the loaded checkpoint with this dtype, and with the class that has the loaded heads.

    If the files hold more networks than the one that is loaded, it is the config.json of that one.
    """
    config = checkpoint.family.files.part(checkpoint.config)
    config["dtype" if "dtype" in config else "torch_dtype"] = dtype
    name = class_of(checkpoint.family, tuple(checkpoint.heads), checkpoint.config.get("architectures") or [])
    return {**config, "architectures": [name]} if name else config


def class_of(family: Any, tasks: tuple[str, ...], before: list[str]) -> str | None:
    """The class with exactly these heads, or with the fewest lacking or added; the previous one if it fits as well.

    tasks: the heads, by the Hub's names.  before: the classes in the old config.json, whose prefix is kept.
    None if there is no previous class.
    """
    every = sorted(family.architectures, key=len)
    known = next(((name, end) for name in before for end in reversed(every) if name.endswith(end)), None)
    if known is None:
        return before[0] if before else None
    name, old = known
    ends = [end for end in (old, *every) if end not in family.files.wholes]

    def names(tasks: tuple[str, ...]) -> set[str]:
        return {family.heads[task].name for task in tasks if task in family.heads} - {"pooled"}

    def strays(end: str) -> int:
        """The number of heads that either the class or the checkpoint lacks."""
        return len(names(tasks) ^ names(family.architectures[end]))

    return name.removesuffix(old) + min(ends, key=strays)


def write_weights(checkpoint: Any, flat: Mapping[str, Any], folder: Path, dtype: str | None, largest: int) -> str:
    """Writes the weights to one file, or to several of at most `largest` bytes with an index; returns the dtype of most
    numbers.

    flat: path -> parameter.  A tensor is never divided, so a file with a single larger tensor exceeds `largest`.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise XfmError("saving needs safetensors: pip install 'xfm[hub]'") from None
    c = checkpoint
    shapes = {path: x.shape for path, x in flat.items()}
    named = file_pieces(c.family, c.heads, c.network.sublayers(), shapes, c.prefixes)
    fixed = constants(c) | counters(named)
    dtypes = dtypes_of(c, flat, [*named, *fixed], dtype) | {n: "int64" for n, a in fixed.items() if a.dtype == np.int64}
    counts = {name: sum(int(np.prod(piece.shape)) for piece in parts) for name, parts in named.items()}
    counts |= {name: array.size for name, array in fixed.items()}
    sizes = {name: count * np.dtype(HELD[dtypes[name]]).itemsize for name, count in counts.items()}
    shares = shared_out(sizes, largest)
    names = [f"model-{i:05}-of-{len(shares):05}.safetensors" for i in range(1, len(shares) + 1)]
    names = names if len(shares) > 1 else ["model.safetensors"]
    for file, share in zip(names, shares, strict=True):
        arrays = {name: fixed[name] if name in fixed else tensor(named[name], flat) for name in share}
        arrays = {name: cast(name, array, dtypes[name]) for name, array in arrays.items()}
        save_file(arrays, folder / file, metadata={"format": "pt"})  # without it transformers refuses the file
    if len(shares) > 1:
        where = {name: file for file, share in zip(names, shares, strict=True) for name in share}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(where.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return max(DTYPES, key=lambda one: sum(counts[name] for name in counts if dtypes[name] == one))


def constants(checkpoint: Any) -> dict[str, np.ndarray]:
    """The tensors of the family's files that are no parameters in xfm, by their names in the files."""
    c = checkpoint
    found = c.family.files.constants(Settings(c.config))
    return {f"{before_names(c.family, c.heads, c.prefixes)}{name}": array for name, array in found.items()}


def counters(names: Iterable[str]) -> dict[str, np.ndarray]:
    """The counter of each batch norm, which PyTorch's files have beside its variance; nothing depends on its value."""
    found = (re.sub(r"running_var$", "num_batches_tracked", name) for name in names if name.endswith("running_var"))
    return {name: np.zeros((), np.int64) for name in found}


def dtypes_of(checkpoint: Any, flat: Mapping[str, Any], names: list[str], dtype: str | None) -> dict[str, str]:
    """The dtype in which each tensor of `names` is written; arguments as in `save`."""
    kinds = {np.dtype(x.dtype).name for x in flat.values()}
    if dtype is None and kinds == {"float32"}:
        return {name: checkpoint.dtypes.get(checkpoint.family.today(name), "float32") for name in names}
    return dict.fromkeys(names, dtype or (kinds.pop() if len(kinds) == 1 else "float32"))


def tensor(parts: list[Piece], flat: Mapping[str, Any]) -> np.ndarray:
    """One tensor of a file, from parameters that may be sharded over several devices."""
    return joined(parts, {piece.path: jax.device_get(flat[piece.path]) for piece in parts})


def shared_out(sizes: Mapping[str, int], largest: int) -> list[list[str]]:
    """The names in the same order, in groups of at most `largest` bytes, or of a single larger tensor."""
    groups, room = [[]], largest
    for name, size in sizes.items():
        if size > room and groups[-1]:
            groups.append([])
            room = largest
        groups[-1].append(name)
        room -= size
    return groups


def cast(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """The array in `dtype`. Raises XfmError, naming the tensor, if numbers are too large for it."""
    if array.dtype == HELD[dtype]:
        return array
    with np.errstate(over="ignore"):
        cast = array.astype(HELD[dtype])
    if not np.isfinite(cast).all():
        raise XfmError(f"{name} has numbers too large for {dtype}; save it as float32")
    return cast


def copy(source: Path, folder: Path) -> None:
    """Copies the files of COPIED that are in `source` to `folder`."""
    for pattern in COPIED:
        for file in sorted(source.glob(pattern)):
            target = folder / file.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new empty folder, which replaces `path` at the end of the `with` block, or is removed if an error was raised.

    Raises XfmError if `path` holds files that `save` does not write.
    """
    path = Path(os.path.realpath(path))  # of a link, the folder that it points to is replaced
    if path.exists() and not path.is_dir():
        raise XfmError(f"{path} is a file; give a new folder")
    foreign = _foreign(path)
    if foreign is not None:
        raise XfmError(f"{path} has {foreign}, which is not a file of a checkpoint; give a new folder")
    mark = uuid.uuid4().hex[:12]
    draft, old = (path.with_name(f".{path.name}.{word}-{mark}") for word in ("new", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        for file in (*draft.rglob("*"), draft):
            _sync(file)
        if path.exists():
            path.rename(old)
        try:
            draft.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    except XfmError:
        raise
    except Exception as error:  # safetensors raises its own type of error if the disk is full
        raise XfmError(f"{path} could not be written and is unchanged: {line(error)}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _foreign(path: Path) -> str | None:
    """The name of a file in the folder `path` that is not a file of a checkpoint; None if there is none."""
    there = [file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()]
    return next((name for name in there if not any(fnmatch(name, one) for one in (*WRITTEN, *COPIED))), None)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
