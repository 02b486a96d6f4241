"""The way back: from the spec of a stack to the config.json that describes it, by a table of keys per family.

A table's row is `key of config.json: place in the spec`, such as "hidden_size": "embed/width", or a function of the
spec where the key is no field of it. A place that the spec does not have leaves its key out; a row of None is null in
every file. Nothing is believed: who uses this asks whether the network that the new config.json describes is the one
that was given.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xfm.hub.settings import ACTIVATIONS
from xfm.parts import SLOTS
from xfm.spec import Spec, named, plain
from xfm.structures import STRUCTURES

Keys = Mapping[str, str | Callable[[Spec], Any] | None]
HOLDS = {"norms": "norm", "heads": "head", "pattern": "part", "prologue": "part", "epilogue": "part",
         "before": "part", "after": "part"}  # fmt: skip
TABLES = {**SLOTS, "part": {**SLOTS["ffn"], **SLOTS["mixer"]}, "structure": STRUCTURES}
HUB_ACTIVATIONS = {ours: name for name, ours in reversed(ACTIVATIONS.items())}


def complete(spec: Any, slot: str = "structure") -> Any:
    """The spec with every field that it leaves to a default, as plain data.  slot: of which the spec is."""
    spec = plain(spec)
    if isinstance(spec, list):
        return [complete(one, slot) for one in spec]
    if not isinstance(spec, dict):
        return spec
    fields = [field for cls in named(spec.get("kind"), TABLES[slot])[:1] for field in dataclasses.fields(cls)]
    default = {f.name: plain(f.default) for f in fields if f.init and f.default is not dataclasses.MISSING}
    filled = {name: value for name, value in default.items() if name not in ("parent", "name")} | spec
    return {key: complete(value, HOLDS.get(key, key if key in TABLES else slot)) for key, value in filled.items()}


def at(spec: Any, place: str) -> Any:
    """What stands at a place of a complete spec, None if nothing does; a sublayer's part need not be named."""
    for step in place.split("/"):
        if isinstance(spec, Sequence) and not isinstance(spec, str):
            spec = spec[int(step)] if int(step) < len(spec) else None
        elif isinstance(spec, Mapping):
            spec = spec[step] if step in spec else (spec.get("part") or {}).get(step)
        else:
            return None
    return spec


def described(keys: Keys, spec: Spec) -> dict[str, Any]:
    """The keys of config.json that a complete spec has; an activation by the Hub's name for it."""
    found = {}
    for key, place in keys.items():
        value = place(spec) if callable(place) else place and at(spec, place)
        if isinstance(place, str) and place.endswith("/activation") and value is not None:
            value = HUB_ACTIVATIONS[value]
        if value is not None or place is None:
            found[key] = value
    return found


def parts(spec: Spec) -> list[Spec]:
    """The parts of all sublayers, from the bottom up."""
    layers = [*spec["prologue"], *list(spec["pattern"]) * spec["repeats"], *spec["epilogue"]]
    return [one.get("part", one) for one in layers]


def layers(spec: Spec) -> int:
    """How many layers of a mixer and an ffn the network runs through."""
    return len(parts(spec)) // 2 * spec["loops"]


def table_width(spec: Spec) -> int:
    """Of the embedding, where it may be another than the stream's."""
    return spec["embed"]["factor"] or spec["embed"]["width"]


def head_width(spec: Spec) -> int:
    """Of the first layer's attention, which may be the equal share of the stream."""
    return at(spec, "pattern/0/width") or spec["embed"]["width"] // at(spec, "pattern/0/heads")


def rope(spec: Spec) -> dict[str, Any]:
    """`rope_parameters` of the first layer's plain angles."""
    return {"rope_type": "default", "rope_theta": at(spec, "pattern/0/position/theta")}


def untied(place: str) -> Callable[[Spec], bool | None]:
    """tie_word_embeddings where the head at this place has a table of its own, which few of the family have."""
    return lambda spec: False if at(spec, f"{place}/table") == "own" else None


def tied(place: str) -> Callable[[Spec], bool | None]:
    """tie_word_embeddings by the `table` of the head at this place."""
    return lambda spec: {"tied": True, "own": False}.get(at(spec, f"{place}/table"))
