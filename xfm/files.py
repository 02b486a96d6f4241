"""Tools for files: sorted listings, hashes of names and contents, and writing that is safe against interruption."""

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
    """A file of a listing.  name: its path relative to the folder, with `/`.  size: in bytes."""

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
    """All files below `root` with one of the suffixes, sorted by name, without hidden ones.

    root: a folder; or a file, which is then the only one.  skip: names of folders that are left out.
    links: "follow" enters folders that are symbolic links, but each real folder only once; "skip" leaves out such
    folders and broken links.
    also: further suffixes, which error messages do not recommend.
    Raises XfmError if no file is found, if a link is broken, or if a file cannot be read.
    """
    root = expanded(root)
    wanted = ", ".join(suffixes)
    if not root.exists():
        where = f"{root} is a broken link" if root.is_symlink() else f"{root} does not exist"
        raise XfmError(f"{where}; give a folder with {wanted} files")
    base = root.parent if root.is_file() else root
    paths = [root] if root.is_file() else _below(root, skip, links)
    files = [_file(path, base) for path in paths if path.suffix.lower() in (*suffixes, *also)]
    if not files:
        raise XfmError(f"{root} has no file that ends in one of {wanted}")
    return sorted(files)


def _below(root: Path, skip: Collection[str], links: str) -> list[Path]:
    """All files below a folder that are not hidden. Files in real folders are found before those behind links."""
    found, known, starts = [], set(), [root]
    for start in starts:  # links that are found are appended to this list
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
                    raise XfmError(f"{path} is a broken link; remove or repair it")
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
    """The files that are not among `held`; links to the same file count as the same."""
    real = {os.path.realpath(file.path) for file in held}
    return [file for file in files if os.path.realpath(file.path) not in real]


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises XfmError, naming it, if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise XfmError(f"{path} cannot be read: {error.strerror}") from error


def share(name: str) -> float:
    """A number in [0, 1) that is a hash of the name."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def fingerprint(*things: Any) -> str:
    """A hash, 16 hexadecimal digits, of plain data (mappings, sequences, numbers, strings)."""
    text = json.dumps(plain(things), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def plain(value: Any) -> Any:
    """The value with mappings of any class as dicts, sequences as lists, and paths as strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to, which is renamed to `path` at the end of the `with` block.

    So the file under that name is never incomplete. Raises XfmError, naming the path, if it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # unique, since several hosts may share the folder
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        os.replace(draft, path)
    except OSError as error:
        raise XfmError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be a file, or gone
            draft.unlink()


def optional(module: str, extra: str) -> ModuleType:
    """The module of an optional dependency. Raises XfmError, naming the extra to install, if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise XfmError(f"{package} is not installed: pip install 'xfm[{extra}]' ({error})") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
