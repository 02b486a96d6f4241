"""The folder of a checkpoint, on this machine or fetched from the Hub, and the JSON files in it."""

import json
import re
import stat
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.fields import shown
from xfm.files import first_line
from xfm.locations import expanded
from xfm.memory import in_bytes

LARGEST = 2**27  # the most bytes of a JSON file
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
         stat.S_IFSOCK: "a socket"}  # fmt: skip
# The files of a repository that are fetched; it may hold many other formats. `*` also matches slashes, so JSON,
# vocabularies and SentencePiece models are taken from all folders; weights only from the top and from folders of
# sentence-transformers (`0_Transformer`).
WANTED = ("*.json", "*.txt", "*.model", "model*.safetensors", "[0-9]_*/*.safetensors")


def folder_of(source: str | Path, revision: str | None = None) -> Path:
    """The folder of a checkpoint: `source` itself, or the local copy of the repository with that name on the Hub.

    revision: of the repository.  Raises XfmError if there is neither, or if a folder is given with a revision.
    """
    path = expanded(source)
    if path.is_dir():
        if revision is not None:
            raise XfmError(f"{path} is a folder, which has no revision {revision!r}; give a name on the Hub")
        return path
    if path.exists() or path.is_absolute() or str(source).startswith((".", "~")):
        raise XfmError(f"{source} is not a folder; give the folder of a checkpoint or a name on the Hub")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(source)):
        raise XfmError(
            f"{str(source)!r} is neither a folder nor a name on the Hub, as in 'google-bert/bert-base-uncased'"
        )
    return _from_hub(str(source), revision)


def _from_hub(name: str, revision: str | None) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        raise XfmError(f"{name} is not a folder here, and the Hub needs: pip install 'xfm[hub]'") from None

    def fetch(*patterns):
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(patterns)))

    try:
        folder = fetch(*WANTED)
        if not list(folder.glob("*.safetensors")) and not list(folder.glob("[0-9]_Transformer/*.safetensors")):
            fetch("flax_model.msgpack")
    except Exception as error:  # the library has dozens of error types: no network, no such name, gated, offline
        what = name if revision is None else f"{name} at revision {revision!r}"
        why = "HF_HUB_OFFLINE is set and it was not fetched before" if constants.HF_HUB_OFFLINE else line(error)
        raise XfmError(f"{what} is not a folder here and could not be fetched from the Hub: {why}") from error
    return folder


def check_file(path: Path) -> int:
    """The size of a file in bytes. Raises XfmError if it is absent, or not a plain file (a pipe may be endless)."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise XfmError(f"{path.parent} has no {path.name}; a checkpoint's folder needs one") from None
    except (OSError, ValueError) as error:
        raise XfmError(f"{path} cannot be read: {line(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise XfmError(f"{path} is {kind}, where a plain file should be")
    return found.st_size


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises XfmError, naming the file, if it has none or is too large."""
    if (size := check_file(path)) > LARGEST:
        raise XfmError(f"{path} is JSON of {in_bytes(size)}; no file of a checkpoint has more than {in_bytes(LARGEST)}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except XfmError as error:
        raise XfmError(f"{path} {error}") from None
    except RecursionError:
        raise XfmError(f"{path} cannot be read as JSON: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise XfmError(f"{path} cannot be read as JSON: {line(error)}") from error
    if not isinstance(content, dict):
        raise XfmError(f"{path} has a {type(content).__name__}, where a JSON object should be")
    return content


def is_run(folder: str | Path) -> bool:
    """Whether a folder is the workdir of a run of `xfm train`."""
    path = expanded(folder) / "config.json"
    if not path.is_file():
        return False
    return (path.parent / "checkpoints").is_dir() or read_json(path).keys() >= {"config", "data"}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of these pairs, for json's `object_pairs_hook`. Raises XfmError if a name occurs twice."""
    content = {}
    for name, value in pairs:
        if name in content:
            raise XfmError(f"lists {shown(name)} twice; it must be there once")
        content[name] = value
    return content


def line(error: BaseException) -> str:
    """The first line of an error's message, truncated to 300 characters, or its type if it has none."""
    first = first_line(error)
    return first if len(first) <= 300 else f"{first[:299]}…"
