"""Kinds of earlier versions, and the specs that replace them, for error messages."""

from collections.abc import Mapping
from typing import Any

# Earlier mixers that are now sights of an attention, with the fields that belong to the sight.
SIGHTS = {
    "block_local": ("block",),
    "block_sparse": ("block", "again", "dense"),
    "global_window": ("window", "everyone"),
}


def moved(slot: str, kind: Any, spec: Mapping[str, Any]) -> str | None:
    """Words that say what replaces a kind that a slot no longer has; None for other kinds.

    slot: its name in `build`.  spec: the given fields.
    """
    if "mixer" not in slot or not isinstance(kind, str) or kind not in SIGHTS:
        return None
    sight = {"kind": kind} | {name: spec[name] for name in SIGHTS[kind] if name in spec}
    part = {"kind": "attention"} | {name: value for name, value in spec.items() if name not in sight} | {"sight": sight}
    return f"it is a sight of an attention now: write {part}, in a pattern {{'part': …, 'label': {kind!r}}}"
