"""What a run keeps in its workdir for itself beside the checkpoints: its tokeniser and its encoded text.

The size and the checksum of each such file are in the run's record (config.json), which has a checksum itself. A file
that does not match the record would change the results of a run unnoticed. Hence it is made again if nothing else
depends on it, and is refused otherwise.
"""

import contextlib
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import multihost

from xfm.errors import XfmError

TOKENIZER = "tokenizer.json"
KEPT = ("*.npy", "tokenizer.*")
TRAINED = ("wordpiece", "bpe")  # kinds of tokenisers that are trained once and kept
CACHES = "*.npy"  # encoded text, which can be made again from the data and the tokeniser
PIECE = 1 << 24

Seals = Mapping[str, list[int]]  # name -> [bytes, crc32]


def seals(workdir: Path, known: Seals | None = None) -> dict[str, list[int]]:
    """name -> [bytes, crc32] of each file that the run keeps.  known: seals that were verified just now."""
    known = known or {}
    names = sorted({path.name for pattern in KEPT for path in workdir.glob(pattern)})
    return {name: known.get(name) or seal(workdir / name) for name in names}


def seal(path: Path) -> list[int]:
    """[bytes, crc32] of a file.  Raises XfmError where it cannot be read."""
    size, crc = 0, 0
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                size, crc = size + len(piece), zlib.crc32(piece, crc)
    except OSError as error:
        raise XfmError(f"{path} cannot be read: {error.strerror}") from error
    return [size, crc]


def whole(workdir: Path, sealed: Seals) -> Iterator[tuple[Path, bool]]:
    """Each sealed file that is there, and whether it is what was sealed."""
    for name, expected in sealed.items():
        if (path := workdir / name).exists():
            yield path, seal(path) == list(expected)


def require_whole(workdir: Path, sealed: Seals) -> None:
    """Raises XfmError if a sealed file that cannot simply be made again has changed."""
    lasting = {name: one for name, one in sealed.items() if not Path(name).match(CACHES)}
    for path, same in whole(workdir, lasting):
        if not same:
            first = workdir / TOKENIZER if path.match("tokenizer.*") else path
            raise XfmError(
                f"{path} is damaged: its checksum is not the one that was recorded when it was written; bring back a "
                f"copy of it, or remove {first} and run `xfm train` there again, which makes it"
            )


def tokenizer_of(workdir: Path, data: Mapping[str, Any], sealed: Seals) -> dict[str, Any] | None:
    """The spec of a run's tokeniser, without training it: the file where the run keeps one; None for data without text.

    data, sealed: of the run's record; a dataset of TFDS has the tokeniser in its field `text`.

    Raises XfmError where the tokeniser is damaged, or was trained and is absent.
    """
    require_whole(workdir, sealed)
    if (workdir / TOKENIZER).is_file():
        return {"kind": "file", "path": str(workdir / TOKENIZER)}
    spec = data.get("tokenizer") or (data.get("text") or {}).get("tokenizer")
    if TOKENIZER in sealed or (spec and spec["kind"] in TRAINED):
        raise XfmError(f"{workdir} has no {TOKENIZER} any more; restore it, or run `xfm train` there to remake it")
    return spec or None


@contextlib.contextmanager
def opened(workdir: Path, sealed: Seals, mode: str, say: Callable[[str], None]) -> Iterator[tuple[Path, Seals]]:
    """The folder in which data finds what the run keeps, and the seals that hold: nothing in it is damaged.

    mode: "write" gives the workdir after removing damaged caches; "read" gives a temporary folder that links to the
    workdir's good files and holds what is made again, so that nothing is written to the workdir.
    Raises XfmError where the tokeniser is damaged.
    """
    require_whole(workdir, sealed)
    good = {}
    for path, same in whole(workdir, sealed):
        if same:
            good[path.name] = sealed[path.name]
        else:
            say(f"{path} is damaged (its checksum is not the recorded one), and is made again")
    multihost.sync_global_processes("xfm: kept files checked")
    bad = {name for name in sealed if name not in good}
    if mode == "write":
        if jax.process_index() == 0:
            for name in bad:
                (workdir / name).unlink(missing_ok=True)
        multihost.sync_global_processes("xfm: damaged files removed")
        yield workdir, good
        return
    with tempfile.TemporaryDirectory(prefix="xfm-") as made:
        for pattern in KEPT:
            for path in workdir.glob(pattern):
                if path.name not in bad:
                    (Path(made) / path.name).symlink_to(path)
        try:
            yield Path(made), good
        except XfmError as error:  # its sentence names the temporary folder
            raise XfmError(str(error).replace(made, str(workdir))) from error
