"""Files in a fixed order, shares and fingerprints that depend on names alone, and writing that
survives a kill.
"""

import contextlib
import hashlib
import importlib
import json
import os
import stat
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from xfm.errors import XfmError
from xfm.locations import expanded


class File(NamedTuple):
    """name: relative to the folder, with `/`.  size: bytes."""

    name: str
    path: Path
    size: int


def listing(
    root: str | Path,
    suffixes: Collection[str],
    skip: Collection[str] = (),
    links: str = "follow",
    also: Collection[str] = (),
) -> list[File]:
    """Files below `root` with one of the suffixes, sorted by name; hidden ones and folders named in
    `skip` left out.

    A path to one file gives that file. links: "follow" enters folders that are symbolic links, each real folder once,
    however many links lead to it; "skip" leaves them and broken links out. also: further suffixes, of files that no
    error asks for. Raises XfmError, naming the folder and the suffixes, if nothing is found, and naming the link, if
    one leads nowhere.
    """
    root = expanded(root)
    wanted = ", ".join(suffixes)
    if not root.exists():
        where = f"{root} is a link that leads nowhere" if root.is_symlink() else f"{root} does not exist"
        raise XfmError(f"{where}; give a folder with {wanted} files")
    base = root.parent if root.is_file() else root
    paths = [root] if root.is_file() else _below(root, skip, links)
    files = [_file(path, base) for path in paths if path.suffix.lower() in (*suffixes, *also)]
    if not files:
        raise XfmError(f"{root} holds no file that ends in one of {wanted}")
    return sorted(files)


def _below(root: Path, skip: Collection[str], links: str) -> list[Path]:
    """All files below a folder that are not hidden. Real folders come first, so that what lies there keeps its name."""
    found, known, starts = [], set(), [root]
    for start in starts:  # which grows by the links that are met
        for folder, folders, names in os.walk(start, onerror=_refuse):
            real = os.path.realpath(folder)
            if real in known:
                folders.clear()
                continue
            known.add(real)
            folders[:] = sorted(f for f in folders if f not in skip and not f.startswith("."))
            if links == "follow":
                starts += [Path(folder, f) for f in folders if os.path.islink(os.path.join(folder, f))]
            for path in (Path(folder, name) for name in names if not name.startswith(".")):
                if not path.is_symlink() or path.exists():
                    found.append(path)
                elif links == "follow":
                    raise XfmError(f"{path} is a link that leads nowhere; remove or mend it")
    return found


def _file(path: Path, base: Path) -> File:
    try:
        status = path.stat()
    except OSError as error:
        _refuse(error)
    if not stat.S_ISREG(status.st_mode):
        raise XfmError(f"{path} is neither a file nor a folder; remove it")
    return File(path.relative_to(base).as_posix(), path, status.st_size)


def _refuse(error: OSError) -> NoReturn:
    raise XfmError(f"{error.filename} cannot be read: {error.strerror}") from error


def apart(files: Sequence[File], held: Sequence[File]) -> list[File]:
    """`files` without those that are `held` out, by whatever links either is reached."""
    real = {os.path.realpath(file.path) for file in held}
    return [file for file in files if os.path.realpath(file.path) not in real]


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises XfmError, naming it, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise XfmError(f"{path} cannot be read: {error.strerror}") from error


def share(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def fingerprint(*things: Any) -> str:
    """16 hexadecimal digits of plain data (mappings, sequences, numbers, strings)."""
    text = json.dumps(plain(things), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def plain(value: Any) -> Any:
    """Mappings of any class as dicts, sequences as lists, paths as strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which takes its place at the end: never half a
    file under that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # hosts may share the folder
    try:
        yield draft
        os.replace(draft, path)
    except OSError as error:
        raise XfmError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def optional(module: str, extra: str) -> ModuleType:
    """An optional dependency, imported. Raises XfmError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise XfmError(f"{package} is not installed: pip install 'xfm[{extra}]' ({error})") from error


def first_line(error: BaseException) -> str:
    """What another library says went wrong, without the pages that may follow."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
