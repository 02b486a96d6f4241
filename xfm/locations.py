"""Makes the paths in a data spec absolute.

A class of SOURCES or TOKENIZERS declares in `PATHS` which of its fields hold paths: field -> rule. A rule is a function
(value, base) -> value that makes the paths in a value absolute, relative to the folder `base`.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.spec import Table, named

Rule = Callable[[Any, Path], Any]


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~name` expanded. Raises XfmError if it is empty, or the user has no home."""
    if not str(path).strip():
        raise XfmError(f"the path {str(path)!r} is empty; give a file or a folder, '.' for the current one")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise XfmError(f"{path} starts with a user of this machine who has no home folder; write it out") from error


def path(value: Any, base: Path) -> Any:
    """The rule for a field that holds a path. Other values (None, the share of a split) and "" are unchanged."""
    if not isinstance(value, str | Path) or not str(value).strip():
        return value
    return os.path.abspath(base / expanded(value))


def folder(value: Any, base: Path) -> Any:
    """The rule for a field that holds a folder or the name of a repository: a path only if that folder exists."""
    found = path(value, base)
    return found if isinstance(found, str) and os.path.isdir(found) else value


def fields(rules: Mapping[str, Rule]) -> Rule:
    """The rule for a mapping, by the rules of some of its fields."""

    def rule(value: Any, base: Path) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: rules[name](one, base) if name in rules else one for name, one in value.items()}

    return rule


def each(rule: Rule) -> Rule:
    """The rule for a mapping with arbitrary keys whose values all follow `rule`."""
    return lambda value, base: fields(dict.fromkeys(value, rule))(value, base) if isinstance(value, Mapping) else value


def spec(table: Table) -> Rule:
    """The rule for a spec, by the `PATHS` of the class that its kind names in `table`. An unknown kind has no paths."""

    def rule(value: Any, base: Path) -> Any:
        kind = value.get("kind") if isinstance(value, Mapping) else None
        return fields(getattr(next(iter(named(kind, table)), None), "PATHS", {}))(value, base)

    return rule
