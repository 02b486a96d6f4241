"""The files of a checkpoint: found, checked before anything is read, and read tensor by tensor.

A file names tensors; no name is ever used as a path, and nothing in a file is executed. Pickles (`.bin`, `.pt`, `.ckpt`)
are not opened at all.
"""

import contextlib
import dataclasses
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from xfm.errors import XfmError

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
WANTED = ("*.json", "*.txt", "*.model", "*/config.json", "*/*.safetensors", "model*.safetensors")


def folder_of(source: str | Path, revision: str | None = None) -> Path:
    """The folder of a checkpoint: `source` itself, or where the Hub's files of that name were put.

    Raises XfmError where there is neither.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if revision is not None:
            raise XfmError(f"{path} is a folder, which has no revision {revision!r}; give a name on the Hub")
        return path
    if path.exists() or path.is_absolute() or str(source).startswith((".", "~")):
        raise XfmError(f"{source} is no folder; give the folder of a checkpoint or a name on the Hub")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(source)):
        raise XfmError(
            f"{str(source)!r} is neither a folder nor a name on the Hub, as in 'google-bert/bert-base-uncased'"
        )
    return _from_hub(str(source), revision)


def _from_hub(name: str, revision: str | None) -> Path:
    try:
        import huggingface_hub
    except ImportError:
        raise XfmError(f"{name} is no folder here, and the Hub needs: pip install 'xfm[hub]'") from None

    def fetch(*patterns):
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))

    try:
        folder = fetch(*WANTED)
        if not list(folder.glob("*.safetensors")):
            fetch("flax_model.msgpack", "*.safetensors.index.json")
    except Exception as error:  # the library has dozens of kinds: no network, no such name, gated, offline
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise XfmError(f"{name} is no folder here and could not be had from the Hub: {reason}") from error
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; XfmError that names it if it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise XfmError(f"{path.parent} has no {path.name}; a checkpoint's folder needs one") from None
    except (OSError, ValueError) as error:
        raise XfmError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise XfmError(f"{path} holds no JSON object but a {type(content).__name__}")
    return content


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: `size` bytes from `start` of a file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class Safetensors(Mapping[str, Tensor]):
    """The tensors of one `.safetensors` file or of several that an index lists."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = dict(tensors)
        self._open: dict[Path, Any] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self[name].shape

    def read(self, name: str) -> np.ndarray:
        """The tensor as an array of its own, in the file's dtype; XfmError for integers, NaN and infinity."""
        tensor = self[name]
        if tensor.dtype not in DTYPES:
            raise XfmError(
                f"{tensor.file.name} stores {name} as {tensor.dtype}; weights are one of {', '.join(DTYPES)}"
            )
        if tensor.file not in self._open:
            self._open[tensor.file] = open(tensor.file, "rb", buffering=0)  # noqa: SIM115 (closed in close)
        file = self._open[tensor.file]
        array = np.empty(tensor.shape, DTYPES[tensor.dtype])
        file.seek(tensor.start)
        view = memoryview(array.reshape(-1).view(np.uint8))
        done = 0
        while done < tensor.size:
            count = file.readinto(view[done:])
            if not count:
                raise XfmError(f"{tensor.file} ends within {name}: it was cut off after it was opened")
            done += count
        return finite(array, name, tensor.file)

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()


class Msgpack(Mapping[str, np.ndarray]):
    """The arrays of a `flax_model.msgpack`, under the names and in the layout that PyTorch's files have.

    Flax wrote `a/b/kernel` [in, out] where PyTorch writes `a.b.weight` [out, in].
    """

    LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}

    def __init__(self, path: Path):
        from flax import serialization

        self._path = path
        try:
            tree = serialization.msgpack_restore(path.read_bytes())
        except Exception as error:  # msgpack has half a dozen kinds, and flax asserts
            raise XfmError(f"{path} is not a msgpack file of Flax, or damaged: {error}") from error
        self._arrays: dict[str, np.ndarray] = {}
        if not isinstance(tree, Mapping):
            raise XfmError(f"{path} holds no tree of parameters but a {type(tree).__name__}")
        self._collect(tree.get("params", tree), ())

    def _collect(self, tree: Mapping, names: tuple[str, ...]) -> None:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                self._collect(value, (*names, key))
            elif isinstance(value, np.ndarray):
                name = ".".join((*names, self.LEAVES.get(key, key)))
                self._arrays[name] = np.swapaxes(value, -1, -2) if key == "kernel" and value.ndim == 2 else value
            else:
                raise XfmError(f"{self._path} holds a {type(value).__name__} at {'/'.join((*names, key))}, no array")

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return self[name].shape

    def read(self, name: str) -> np.ndarray:
        """The array; XfmError where it holds integers, NaN or infinity."""
        array = self[name]
        if array.dtype not in [np.dtype(dtype) for dtype in DTYPES.values()]:
            raise XfmError(f"{self._path.name} stores {name} as {array.dtype}; weights are floating-point numbers")
        return finite(array, name, self._path)

    def close(self) -> None:
        self._arrays.clear()


Tensors = Safetensors | Msgpack


@contextlib.contextmanager
def tensors_of(folder: Path) -> Iterator[Tensors]:
    """The weights in a folder, by the names that they have there; files are closed at the end.

    model.safetensors, or the files of model.safetensors.index.json, or flax_model.msgpack, in this order. Raises
    XfmError for a damaged file, and for a folder with none of them.
    """
    single, index, flax = (
        folder / n for n in ("model.safetensors", "model.safetensors.index.json", "flax_model.msgpack")
    )
    if single.exists():
        found = Safetensors(header(single))
    elif index.exists():
        found = Safetensors(_sharded(index))
    elif flax.exists():
        found = Msgpack(flax)
    else:
        raise XfmError(_no_weights(folder))
    try:
        yield found
    finally:
        found.close()


def header(path: Path) -> dict[str, Tensor]:
    """The tensors that a `.safetensors` file lists, the file being whole and consistent."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy"):
            pass  # the library checks sizes, offsets, holes and overlaps
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            content = json.loads(file.read(length), object_pairs_hook=_once)
    except XfmError as error:
        raise XfmError(f"{path} {error}") from None
    except Exception as error:  # SafetensorError is an Exception of its own
        raise XfmError(f"{path} is damaged or no safetensors file: {error}") from error
    start = 8 + length
    return {
        name: Tensor(path, about["dtype"], tuple(about["shape"]), start + about["data_offsets"][0], _size(about))
        for name, about in content.items()
        if name != "__metadata__"
    }


def _size(about: Mapping[str, Any]) -> int:
    first, last = about["data_offsets"]
    return last - first


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise XfmError(f"lists {twice!r} twice, so that which one counts is anybody's guess")
    return dict(pairs)


def _sharded(index: Path) -> dict[str, Tensor]:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise XfmError(f"{index} has no weight_map from tensors to files")
    headers = {}
    for name in sorted(set(files.values())):
        if not re.fullmatch(r"[\w.-]+\.safetensors", name):
            raise XfmError(f"{index} names the file {name!r}; only a .safetensors file beside the index is opened")
        if not (index.parent / name).is_file():
            raise XfmError(f"{index} names {name}, which is not there; the checkpoint is incomplete")
        headers[name] = header(index.parent / name)
    for tensor, name in files.items():
        if tensor not in headers[name]:
            raise XfmError(f"{index} says that {name} holds {tensor!r}, and it does not")
    return {tensor: headers[name][tensor] for tensor, name in files.items()}


def _no_weights(folder: Path) -> str:
    pickled = next((path.name for pattern in PICKLES for path in sorted(folder.glob(pattern))), None)
    if pickled is None:
        return f"{folder} has no weights: no model.safetensors, no index of several, no flax_model.msgpack"
    return (
        f"{folder} has its weights only as {pickled}, a pickle, which can run any code and is not opened. Safe ways: a "
        "revision with safetensors (the Hub's bot offers one as revision='refs/pr/N'), a flax_model.msgpack, or "
        "save_pretrained with transformers where you trust the file"
    )


def finite(array: np.ndarray, name: str, file: Path) -> np.ndarray:
    """The array, unless it holds NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum(dtype=np.float32)  # one pass; NaN and infinity survive it
    if not math.isfinite(total) and not np.isfinite(array.astype(np.float32)).all():
        raise XfmError(f"{file} holds NaN or infinity in {name}; it is damaged, or training had failed")
    return array
