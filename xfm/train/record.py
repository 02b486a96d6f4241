"""The record of a run, config.json: what it was trained with, as plain JSON with a checksum of itself.

A second run in the same workdir is compared with it.
"""

import dataclasses
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import ml_collections
import numpy as np

from xfm.data import located as located_data
from xfm.errors import XfmError
from xfm.files import replacing
from xfm.locations import expanded
from xfm.locations import folder as if_folder
from xfm.moved import renewed
from xfm.train.settings import MAY_CHANGE

FILE = "config.json"
NOTHING = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run was trained with.

    config: that of the run, with absolute paths.  data: the data's fingerprint.  typed: key of a path in the config ->
    what the user typed there, for relative paths.  kept: seals of the files that the run keeps, see kept.py.
    metrics: the mark of metrics.jsonl when the run ended, see logs.py; None before.
    classes: names of the data's classes in the order of their numbers.
    """

    config: dict[str, Any]
    data: str
    typed: dict[str, str] = dataclasses.field(default_factory=dict)
    kept: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    metrics: list[int] | None = None
    classes: list[str] = dataclasses.field(default_factory=list)

    def as_typed(self) -> dict[str, Any]:
        """The config with paths as they were typed, which does not reveal this machine's folders."""
        config = dict(self.config)
        for key, words in self.typed.items():
            _put(config, key, words)
        return config


def open_workdir(workdir: str | Path) -> Path:
    """The folder of a run, which is made if needed.  Raises XfmError if it is not writable."""
    workdir = folder_named(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise XfmError(f"cannot write to the workdir {workdir}: {error.strerror}; choose another") from None
    return workdir


def open_run(workdir: str | Path) -> tuple[Path, Record]:
    """The folder of a run that was begun, and its record; nothing is written.  Raises XfmError if there is none."""
    workdir = folder_named(workdir)
    record = read_record(workdir)
    if record is None:
        raise XfmError(f"{workdir} holds no run: there is no {FILE}; give the workdir of `xfm train`")
    return workdir, record


def folder_named(workdir: str | Path) -> Path:
    """A workdir as an absolute path.  Raises XfmError for an empty name, which would mean the current folder."""
    if not str(workdir).strip() or "\0" in str(workdir):
        raise XfmError(f"{str(workdir)!r} is no name of a workdir: give a folder, '.' for the one you are in")
    return expanded(workdir).absolute()


def to_plain(value: Any, where: str = "config") -> Any:
    """A config as JSON data: dicts, lists, strings, numbers, None.  Raises XfmError for anything else."""
    if isinstance(value, ml_collections.FieldReference):
        value = value.get()
    if isinstance(value, Mapping | ml_collections.ConfigDict):
        return {str(key): to_plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence):
        return [to_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise XfmError(f"{where} is a {type(value).__name__}; a config holds plain data only")


def write_record(workdir: Path, record: Record) -> None:
    """Writes config.json in one move, on process 0."""
    if jax.process_index() != 0:
        return
    content = dataclasses.asdict(record)
    with replacing(workdir / FILE) as part:
        part.write_text(json.dumps({**content, "crc32": _crc(content)}, indent=2) + "\n")


def read_record(workdir: Path) -> Record | None:
    """The record of the workdir, or None if none was written.  Raises XfmError if it is damaged."""
    path = Path(workdir) / FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        if content.keys() != {"config", "data"}:  # the form from before records had checksums
            if content.pop("crc32") != _crc(content):
                raise ValueError("its checksum is wrong")
        return Record(**{**content, "config": renewed(content["config"])})
    except OSError as error:
        raise XfmError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise XfmError(f"{path} is damaged ({error}); restore it or take another workdir") from None


def located(config: Mapping[str, Any], record: Record | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The config with absolute paths, and what was typed for the relative ones, by key.

    Paths are relative to the current folder. If nothing is there, a path that was typed like that for the recorded run
    means what it meant then.
    """
    base = Path.cwd()
    data, start = config.get("data"), config.get("start")
    out = dict(config)
    if isinstance(data, Mapping):
        out["data"] = located_data(data, base)
    if isinstance(start, Mapping):
        out["start"] = {**start, "source": if_folder(start.get("source"), base)} if "source" in start else start
    given, found = flat(config), flat(out)
    typed = {key: given[key] for key, path in found.items() if path != given.get(key)}
    known = {} if record is None else flat(record.config)
    for key, words in ({} if record is None else record.typed).items():
        if given.get(key) == words and key in known and not os.path.exists(found[key]):
            _put(out, key, known[key])
        if given.get(key) in (words, known.get(key)):
            typed[key] = words
    return out, typed


def require_same_config(
    workdir: Path,
    config: Mapping[str, Any],
    *,
    typed: Mapping[str, str] = NOTHING,
    evaluated: Sequence[str] = (),
) -> None:
    """Raises XfmError if the workdir was trained with another config, naming each key that differs.

    Keys in MAY_CHANGE may differ, and so may those in `evaluated` (`a.b` is a key of the mapping `a`), which only
    evaluation reads. A path may differ if it is typed as before, because the data's fingerprint is compared as well.
    The caller makes sure that a checkpoint depends on the config; without one everything may differ.
    """
    record = read_record(workdir)
    if record is None:
        return
    free = (*MAY_CHANGE, *evaluated)
    old, new = flat(record.config), flat(config)
    changed = [
        key for key in {**old, **new} if old.get(key, "absent") != new.get(key, "absent") and not _lies_in(key, free)
    ]
    before = {**old, **record.typed}  # in records from before paths were absolute, the config has what was typed
    moved = [(old[key], new[key]) for key in changed if key in typed and typed[key] == before.get(key)]
    changed = [key for key in changed if not any(_follows(old.get(key), new.get(key), *one) for one in moved)]
    if changed:
        lines = [f"{key}: {old.get(key, 'absent')!r} -> {new.get(key, 'absent')!r}" for key in changed]
        more = f" (and {len(lines) - 8} more)" if len(lines) > 8 else ""
        raise XfmError(
            f"{workdir} was trained with another config ({', '.join(lines[:8])}{more}): take "
            f"another workdir, or change it back; only {', '.join(free)} may change"
        )


def require_same_data(workdir: Path, fingerprint: str) -> None:
    """Raises XfmError if the data is not what the workdir was trained on."""
    record = read_record(workdir)
    if record is not None and record.data != fingerprint:
        raise XfmError(
            f"{workdir} was trained on other data (fingerprint {record.data} -> {fingerprint}): take "
            "another workdir, or bring the old files back"
        )


def _lies_in(key: str, roots: Sequence[str]) -> bool:
    """Whether a key of `flat` is one of the roots or below it."""
    return any(key == root or key.startswith((f"{root}.", f"{root}[")) for root in roots)


def flat(value: Any, where: str = "") -> dict[str, Any]:
    """The leaves of nested mappings and lists, by path, such as `a.b[0].c`."""
    if isinstance(value, Mapping):
        items = [(f"{where}.{key}" if where else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{where}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {where: value}
    if not items:
        return {where: value}
    return {key: leaf for name, item in items for key, leaf in flat(item, name).items()}


def _put(tree: dict, key: str, value: Any) -> None:
    """Sets the leaf of `tree` that `flat` calls `key`; mappings inside `tree` are copied, not changed."""
    for name, item in tree.items():
        if name == key:
            tree[name] = value
        elif key.startswith(f"{name}.") and isinstance(item, Mapping):
            tree[name] = dict(item)
            _put(tree[name], key.removeprefix(f"{name}."), value)


def _follows(old: Any, new: Any, before: str, after: str) -> bool:
    """Whether `new` is to the path `after` what `old` is to `before`: the path itself, or a file below it."""
    below = isinstance(old, str) and isinstance(new, str) and old.startswith(before) and new.startswith(after)
    return below and old.removeprefix(before) == new.removeprefix(after)


def _crc(content: Any) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
