"""Which fields of a data spec are paths, and the same spec with those paths absolute.

A class of SOURCES or TOKENIZERS says in `PATHS` what its fields hold: field -> a rule, which is a function
(value, base) -> value. A field that is not named there holds no path.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xfm.errors import XfmError
from xfm.spec import named

Rule = Callable[[Any, Path], Any]


def expanded(path: str | Path) -> Path:
    """The path with a leading `~` or `~name` replaced. Raises XfmError if it is empty or that user has no home."""
    if not str(path).strip():
        raise XfmError(f"the path {str(path)!r} is empty; give a file or a folder, '.' for the current one")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise XfmError(f"{path} starts with a user of this machine who has no home folder; write it out") from error


def path(value: Any, base: Path) -> Any:
    """A text is a path, relative to `base`; anything else (None, the share of a split) stays, and so does ''."""
    if not isinstance(value, str | Path) or not str(value).strip():
        return value
    return os.path.abspath(base / expanded(value))


def folder(value: Any, base: Path) -> Any:
    """A text is a path where it names a folder that exists, and otherwise a name (of a repository on the Hub)."""
    found = path(value, base)
    return found if isinstance(found, str) and os.path.isdir(found) else value


def fields(rules: Mapping[str, Rule]) -> Rule:
    """A mapping of which some fields hold paths."""

    def rule(value: Any, base: Path) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: rules[name](one, base) if name in rules else one for name, one in value.items()}

    return rule


def each(rule: Rule) -> Rule:
    """A mapping from names that are free to what `rule` describes."""
    return lambda value, base: fields(dict.fromkeys(value, rule))(value, base) if isinstance(value, Mapping) else value


def spec(table: Mapping[str, type]) -> Rule:
    """A spec of a slot: the class of its kind says which fields are paths; `build` refuses an unknown kind."""

    def rule(value: Any, base: Path) -> Any:
        kind = value.get("kind") if isinstance(value, Mapping) else None
        return fields(getattr(next(iter(named(kind, table)), None), "PATHS", {}))(value, base)

    return rule
