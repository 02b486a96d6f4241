"""From the spec of a network to the config.json that describes it, by one table of keys per family.

This is the inverse of a family's `network`. A row of a table is `key of config.json: path in the spec`, such as
"hidden_size": "embed/width", or a function of the spec if the value is not a field of it. A path that the spec does not
have leaves its key out; None stands for null in every file. The tables are not trusted: the caller checks that the new
config.json describes the same network.
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
         "before": "part", "after": "part", "towers": "structure"}  # fmt: skip
TABLES = {**SLOTS, "part": {**SLOTS["ffn"], **SLOTS["mixer"]}, "structure": STRUCTURES}
HUB_ACTIVATIONS = {ours: name for name, ours in reversed(ACTIVATIONS.items())}


def complete(spec: Any, slot: str = "structure") -> Any:
    """The spec as plain data, with the defaults of all fields that it does not set.  slot: the one that it is for."""
    spec = plain(spec)
    if isinstance(spec, list):
        return [complete(one, slot) for one in spec]
    if not isinstance(spec, dict):
        return spec
    fields = [field for cls in named(spec.get("kind"), TABLES[slot])[:1] for field in dataclasses.fields(cls)]
    default = {f.name: plain(f.default) for f in fields if f.init and f.default is not dataclasses.MISSING}
    filled = {name: value for name, value in default.items() if name not in ("parent", "name")} | spec
    return {key: complete(value, HOLDS.get(key, key if key in TABLES else slot)) for key, value in filled.items()}


def at(spec: Any, path: str) -> Any:
    """The value at a path of a complete spec, such as "pattern/0/heads"; None if there is none.

    The step `part`, from a sublayer to its part, may be left out.
    """
    for step in path.split("/"):
        if isinstance(spec, Sequence) and not isinstance(spec, str):
            spec = spec[int(step)] if int(step) < len(spec) else None
        elif isinstance(spec, Mapping):
            spec = spec[step] if step in spec else (spec.get("part") or {}).get(step)
        else:
            return None
    return spec


def described(keys: Keys, spec: Spec) -> dict[str, Any]:
    """The keys of config.json with their values, for a complete spec; activations have the Hub's names."""
    found = {}
    for key, path in keys.items():
        value = path(spec) if callable(path) else path and at(spec, path)
        if isinstance(path, str) and path.endswith("/activation") and value is not None:
            value = HUB_ACTIVATIONS[value]
        if value is not None or path is None:
            found[key] = value
    return found


def parts(spec: Spec) -> list[Spec]:
    """The specs of the parts of all sublayers, from the first to the last."""
    layers = [*spec["prologue"], *list(spec["pattern"]) * spec["repeats"], *spec["epilogue"]]
    return [one.get("part", one) for one in layers]


def layers(spec: Spec) -> int:
    """The number of layers, of a mixer and an ffn each, that a token passes through."""
    return len(parts(spec)) // 2 * spec["loops"]


def table_width(spec: Spec) -> int:
    """The width of the embedding table, which may differ from the model's."""
    return spec["embed"]["factor"] or spec["embed"]["width"]


def head_width(spec: Spec) -> int:
    """The head width of the first layer's attention; by default the model's width divided by the number of heads."""
    return at(spec, "pattern/0/width") or spec["embed"]["width"] // at(spec, "pattern/0/heads")


def rope(spec: Spec) -> dict[str, Any]:
    """The value of `rope_parameters` for unscaled rotary positions, with the first layer's base."""
    return {"rope_type": "default", "rope_theta": at(spec, "pattern/0/position/theta")}


def untied(path: str) -> Callable[[Spec], bool | None]:
    """A row for tie_word_embeddings: false if the head at `path` has its own table, else the key is left out."""
    return lambda spec: False if at(spec, f"{path}/table") == "own" else None


def tied(path: str) -> Callable[[Spec], bool | None]:
    """A row for tie_word_embeddings: whether the head at `path` shares the embedding's table."""
    return lambda spec: {"tied": True, "own": False}.get(at(spec, f"{path}/table"))


# The rows that BERT's config.json shares with those of encoders written after it, of text or of images.
ENCODER: Keys = {
    "hidden_size": "embed/width",
    "num_hidden_layers": layers,
    "num_attention_heads": "pattern/0/heads",
    "intermediate_size": "pattern/1/hidden",
    "hidden_act": "pattern/1/activation",
    "hidden_dropout_prob": "embed/drop",
    "attention_probs_dropout_prob": "pattern/0/drop",
}
