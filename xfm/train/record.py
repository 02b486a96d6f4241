"""config.json: what a workdir was trained with, as plain JSON, and whether a second run still means
the same.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from xfm.errors import XfmError
from xfm.train.settings import MAY_CHANGE

FILE = "config.json"
CLASSES = "classes.json"


def open_workdir(workdir: str | Path) -> Path:
    """The folder of a run, made if needed and proven writable; XfmError where it is not."""
    workdir = Path(workdir).expanduser().absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise XfmError(f"cannot write to the workdir {workdir}: {error.strerror}; choose another") from None
    return workdir


def to_plain(value: Any, where: str = "config") -> Any:
    """A config as JSON data: dicts, lists, strings, numbers, None.  Raises XfmError for anything
    else.
    """
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


def write_record(workdir: Path, config: Mapping[str, Any], fingerprint: str) -> None:
    """Writes config.json in one move, on process 0."""
    if jax.process_index() != 0:
        return
    text = json.dumps({"config": config, "data": fingerprint}, indent=2)
    part = workdir / f"{FILE}.part"
    part.write_text(text + "\n")
    os.replace(part, workdir / FILE)


def read_record(workdir: Path) -> tuple[dict[str, Any], str] | None:
    """(config, fingerprint of the data) of the workdir, or None where none was written."""
    path = Path(workdir) / FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text())
        return record["config"], record["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise XfmError(f"{path} is damaged ({error}); restore it or take another workdir") from None


def require_same_config(workdir: Path, config: Mapping[str, Any], evaluated: Sequence[str] = ()) -> None:
    """Raises XfmError if the workdir was trained with another config, naming each key that differs.

    Keys in MAY_CHANGE may differ, and `evaluated`, which only evaluation reads (`a.b` goes into mappings); so may
    everything while no checkpoint depends on it (the caller's to know).
    """
    record = read_record(workdir)
    if record is None:
        return
    free = (*MAY_CHANGE, *evaluated)
    old, new = (_flat(c) for c in (record[0], config))
    changed = [
        key for key in {**old, **new} if old.get(key, "absent") != new.get(key, "absent") and not _lies_in(key, free)
    ]
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
    if record is not None and record[1] != fingerprint:
        raise XfmError(
            f"{workdir} was trained on other data (fingerprint {record[1]} -> {fingerprint}): take "
            "another workdir, or bring the old files back"
        )


def _lies_in(key: str, roots: Sequence[str]) -> bool:
    """Whether a key of `_flat` is one of the roots or below it."""
    return any(key == root or key.startswith((f"{root}.", f"{root}[")) for root in roots)


def _flat(value: Any, where: str = "") -> dict[str, Any]:
    """`a.b[0].c` -> leaf."""
    if isinstance(value, Mapping):
        items = [(f"{where}.{key}" if where else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{where}[{i}]", item) for i, item in enumerate(value)]
    else:
        return {where: value}
    if not items:
        return {where: value}
    return {key: leaf for name, item in items for key, leaf in _flat(item, name).items()}


def write_classes(workdir: Path, classes: Sequence[str]) -> None:
    """Writes classes.json, the names of the data's classes in the order of their numbers, if there are any."""
    if jax.process_index() == 0 and classes:
        part = workdir / f"{CLASSES}.part"
        part.write_text(json.dumps(list(classes), ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, workdir / CLASSES)


def read_classes(workdir: Path) -> tuple[str, ...]:
    """The names that `write_classes` wrote; none where there is no such file."""
    path = Path(workdir) / CLASSES
    if not path.exists():
        return ()
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise XfmError(f"{path} is damaged ({error}); remove it and run `xfm train` again, which writes it") from None
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise XfmError(f"{path} is damaged (no list of names); remove it and run `xfm train` again, which writes it")
    return tuple(names)
