"""Kinds of earlier versions, each with the spec that says the same today, for the error that names it."""

from collections.abc import Mapping
from typing import Any

# Mixers that are sights of an attention, each with the fields that went along.
SIGHTS = {
    "block_local": ("block",),
    "block_sparse": ("block", "again", "dense"),
    "global_window": ("window", "everyone"),
}


def moved(slot: str, kind: Any, spec: Mapping[str, Any]) -> str | None:
    """In words, what to write in place of a kind that a slot no longer has; None for any other kind.

    slot: as `build` names it.  spec: the fields that were given.
    """
    if "mixer" not in slot or not isinstance(kind, str) or kind not in SIGHTS:
        return None
    sight = {"kind": kind} | {name: spec[name] for name in SIGHTS[kind] if name in spec}
    part = {"kind": "attention"} | {name: value for name, value in spec.items() if name not in sight} | {"sight": sight}
    return f"it is a sight of an attention now: write {part}, in a pattern {{'part': …, 'label': {kind!r}}}"
