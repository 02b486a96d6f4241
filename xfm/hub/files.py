"""The files of a checkpoint's weights, which are checked when they are opened and read tensor by tensor.

Names in a file are never used as paths, and nothing in a file is executed. Pickles (`.bin`, `.pt`, `.ckpt`) are not
opened at all.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from xfm.errors import XfmError
from xfm.fields import shown
from xfm.folders import check_file, line, once, read_json
from xfm.memory import host_memory, in_bytes

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
HEADER = 2**24  # the most bytes of the header of a `.safetensors` file
MAPS = (b"\xde", b"\xdf")  # the first byte of a msgpack map with more than 15 keys
# Buffers, which are no weights, may also have these dtypes.
BUFFERS = {**DTYPES, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_}
BUFFERS |= {np.dtype(dtype).name: dtype for dtype in BUFFERS.values()}  # the same by their names in flax_model.msgpack
ROWS, BLOCK = 64, 2**18  # a read takes at least so many rows and about so many bytes, which fit a processor's cache
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor in a `.safetensors` file: `size` bytes from byte `start` on."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class Safetensors(Mapping[str, Tensor]):
    """The tensors of one `.safetensors` file, or of several that an index lists, by name."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        self._tensors = dict(tensors)
        self._open = {file: os.open(file, os.O_RDONLY) for file in {tensor.file for tensor in tensors.values()}}
        for file in self._open.values():
            with contextlib.suppress(AttributeError, OSError):  # not on every system
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return self[name].shape

    def dtype(self, name: str) -> str:
        """The dtype of a tensor, such as "BF16"."""
        return self[name].dtype

    def check(self, name: str) -> None:
        """Raises XfmError if a tensor does not hold floating-point numbers."""
        if self[name].dtype not in DTYPES:
            raise XfmError(f"{self[name].file} stores {name} as {self[name].dtype}; weights are one of {_either()}")

    def blocks(self, name: str, first: int = 0, stop: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows first..stop of a tensor in blocks: a slice, counted from `first`, and the numbers of these rows.

        The numbers have the file's dtype; their memory is reused for the next block. Raises XfmError for NaN and
        infinity.
        """
        tensor = self[name]
        shape = tensor.shape or (1,)
        row = math.prod(shape[1:]) * np.dtype(BUFFERS[tensor.dtype]).itemsize
        stop = shape[0] if stop is None else stop
        count = max(ROWS, BLOCK // max(row, 1))
        memory = np.empty((min(count, stop - first), *shape[1:]), BUFFERS[tensor.dtype])
        for at in range(first, max(stop, first + 1), count):  # an empty tensor has one empty block
            block = memory[: stop - at]
            self._read(tensor, name, tensor.start + at * row, block)
            yield slice(at - first, at - first + len(block)), finite(block, name, tensor.file)

    def _read(self, tensor: Tensor, name: str, start: int, block: np.ndarray) -> None:
        view = memoryview(block.reshape(-1).view(np.uint8))
        while len(view):
            done = os.preadv(self._open[tensor.file], [view], start)
            if not done:
                raise XfmError(f"{tensor.file} ends within {name}: it was truncated after it was opened")
            start, view = start + done, view[done:]

    def close(self) -> None:
        """Closes the files."""
        for file in self._open.values():
            os.close(file)
        self._open.clear()


class Msgpack(Mapping[str, np.ndarray]):
    """The arrays of a `flax_model.msgpack`, with the names and the layout that PyTorch's files have.

    Flax writes `a/b/kernel` [..., in, out], PyTorch `a.b.weight` [out, in, ...]. The whole file is read into memory.
    """

    LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}

    def __init__(self, path: Path):
        from flax import serialization

        self._path = path
        size, there = check_file(path), host_memory()
        if size > there:
            raise XfmError(
                f"{path} is read into memory as a whole; it has {in_bytes(size)}, but this machine only "
                f"{in_bytes(there)}"
            )
        with open(path, "rb") as file:
            first = file.read(1)
        if not (first and (0x80 <= first[0] <= 0x8F or first in MAPS)):
            raise XfmError(f"{path} is not a msgpack file of Flax, or damaged: it has no tree of parameters")
        try:
            tree = serialization.msgpack_restore(path.read_bytes())
        except Exception as error:  # msgpack raises half a dozen types of errors, and flax uses assertions
            raise XfmError(f"{path} is not a msgpack file of Flax, or damaged: {line(error)}") from error
        self._arrays: dict[str, np.ndarray] = {}
        tree = tree.get("params", tree) if isinstance(tree, Mapping) else tree
        if not isinstance(tree, Mapping):
            raise XfmError(f"{path} has a {type(tree).__name__}, where a tree of parameters should be")
        self._collect(tree, ())

    def _collect(self, tree: Mapping, names: tuple[str, ...]) -> None:
        for key, value in tree.items():
            path = (*names, str(key))
            if isinstance(value, Mapping):
                self._collect(value, path)
            elif isinstance(value, np.ndarray):
                name = ".".join((*names, self.LEAVES.get(key, str(key))))
                matrix = key == "kernel" and value.ndim > 1
                self._arrays[name] = np.moveaxis(value, (-1, -2), (0, 1)) if matrix else value
            else:
                raise XfmError(
                    f"{self._path} has a {type(value).__name__} at {'/'.join(path)}, where an array should be"
                )

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array."""
        return self[name].shape

    def dtype(self, name: str) -> str:
        """The dtype of an array, such as "bfloat16"."""
        return self[name].dtype.name

    def check(self, name: str) -> None:
        """Raises XfmError if an array does not hold floating-point numbers."""
        if self[name].dtype not in [np.dtype(dtype) for dtype in DTYPES.values()]:
            raise XfmError(f"{self._path} stores {name} as {self[name].dtype}; weights are one of {_either()}")

    def blocks(self, name: str, first: int = 0, stop: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """As `Safetensors.blocks`, but all rows are one block."""
        rows = np.atleast_1d(self[name])[first:stop]
        yield slice(0, len(rows)), finite(rows, name, self._path)

    def close(self) -> None:
        """Frees the arrays."""
        self._arrays.clear()


Tensors = Safetensors | Msgpack


@contextlib.contextmanager
def tensors_of(folder: Path) -> Iterator[Tensors]:
    """The weights in a folder, by their names in the files, which are open within the `with` block.

    They are read from model.safetensors, else from the files that model.safetensors.index.json lists, else from
    flax_model.msgpack. Raises XfmError for a damaged file, and for a folder with none of them.
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
    """The tensors that a `.safetensors` file lists. Raises XfmError, naming the file, if it is not consistent."""
    import safetensors

    size = check_file(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > min(HEADER, size - 8):
            raise XfmError(
                f"is damaged or not a safetensors file: it announces a header of {length} bytes in a file of {size}; a "
                f"header may have at most {HEADER}"
            )
        with safetensors.safe_open(path, framework="numpy"):
            pass  # the library checks sizes, offsets, holes and overlaps
        with open(path, "rb") as file:
            file.seek(8)
            content = json.loads(file.read(length), object_pairs_hook=once)
    except XfmError as error:
        raise XfmError(f"{path} {error}") from None
    except Exception as error:  # SafetensorError derives from Exception alone
        raise XfmError(f"{path} is damaged or not a safetensors file: {line(error)}") from error
    start = 8 + length
    return {
        name: Tensor(path, about["dtype"], tuple(about["shape"]), start + about["data_offsets"][0], _size(about))
        for name, about in content.items()
        if name != "__metadata__"
    }


def _size(about: Mapping[str, Any]) -> int:
    first, last = about["data_offsets"]
    return last - first


def _sharded(index: Path) -> dict[str, Tensor]:
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise XfmError(f"{index} has no weight_map from tensors to files")
    headers = {}
    for name in sorted(set(files.values())):
        if not re.fullmatch(r"[\w.-]{1,200}\.safetensors", name):
            raise XfmError(f"{index} names the file {shown(name)}; only a .safetensors file beside the index is opened")
        if not (index.parent / name).is_file():
            raise XfmError(f"{index} names {name}, which is not there; the checkpoint is incomplete")
        headers[name] = header(index.parent / name)
    for tensor, name in files.items():
        if tensor not in headers[name]:
            raise XfmError(f"{index} says that {name} has {shown(tensor)}, but it does not; the checkpoint is damaged")
    return {tensor: headers[name][tensor] for tensor, name in files.items()}


def _no_weights(folder: Path) -> str:
    pickled = next((path.name for pattern in PICKLES for path in sorted(folder.glob(pattern))), None)
    if pickled is None:
        lacks = "has no weights: no model.safetensors, no index of several files, no flax_model.msgpack"
    else:
        lacks = f"has its weights only as {pickled}, a pickle, which can run any code and is not opened"
    return (
        f"{folder} {lacks}; safe ways are a revision with safetensors (the Hub's bot offers one as "
        "revision='refs/pr/N'), a flax_model.msgpack, or save_pretrained with transformers if you trust the file"
    )


def finite(array: np.ndarray, name: str, file: Path) -> np.ndarray:
    """The array itself. Raises XfmError, naming the tensor and the file, if it has NaN or infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = array.sum(dtype=np.float32)  # one pass; NaN and infinity survive it
    if not math.isfinite(total) and not np.isfinite(array).all():
        raise XfmError(f"{file} has NaN or infinity in {name}; it is damaged, or its training failed")
    return array


def _either() -> str:
    return ", ".join(DTYPES)
