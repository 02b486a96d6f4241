"""Kinds and fields of earlier versions, and what replaces them, for error messages."""

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


# Earlier fields of objectives -> the kind of the evaluator that has them now.
MEASURED = {
    ("classification", "scores"): "classes",
    ("regression", "scores"): "numbers",
    ("tagging", "scores"): "tags",
    ("span", "longest"): "spans",
    ("span", "threshold"): "spans",
}


def moved_field(slot: str, kind: Any, field: str, value: Any) -> str | None:
    """Words that say where a field is set that a class no longer has; None for other fields."""
    evaluator = MEASURED.get((kind, field)) if slot == "objective" else None
    spec = {"kind": evaluator, field: value}
    return None if evaluator is None else f"it is a field of an evaluator now: set config.evals=[{spec}]"


def renewed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a run of an earlier version, with the fields that now belong to an evaluator moved to `evals`."""
    objective = config.get("objective")
    kind = objective.get("kind") if isinstance(objective, Mapping) else None
    fields = {name: objective[name] for name in objective or () if (kind, name) in MEASURED}
    if not fields or "evals" in config:
        return dict(config)
    rest = {name: value for name, value in objective.items() if name not in fields}
    return {**config, "objective": rest, "evals": [{"kind": MEASURED[kind, next(iter(fields))], **fields}]}
