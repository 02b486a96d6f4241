"""Which family of the Hub can write a network of xfm's, and how: its config.json, its heads, where parameters go.

A family takes part by its `keys`, the way back from a stack's spec to config.json. Nothing is believed: the network
that the new config.json describes must be the one that was given, field by field. It may have biases that are zero
where the given one has none, and differ in what the family names as `near`, which is then told.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xfm.errors import XfmError
from xfm.folders import line
from xfm.hub.families import WRITTEN
from xfm.hub.family import Family, Head
from xfm.hub.keys import complete, described
from xfm.hub.saving import class_of
from xfm.hub.settings import Settings

PASSING = ("drop", "position_drop", "dtype", "remat", "most")  # of a spec: they change no result
BIASES = ("bias", "out_bias")  # fields that may be False where the Hub's files have zeros
NEAREST = 3  # families in a message
Difference = tuple[str, Any, Any]  # the place, and what stands there in the one and in the other


@dataclasses.dataclass(frozen=True)
class Match:
    """How a family writes a network.

    settings: the new config.json.  heads: by the Hub's names of tasks.  spec: what config.json describes.
    moved: where parameters go, from a path's beginning to another.  left: heads that the Hub has no name for.
    near: what differs.
    """

    family: Family
    settings: Settings
    heads: Mapping[str, Head]
    spec: Mapping[str, Any]
    moved: Mapping[str, str]
    left: tuple[str, ...]
    near: tuple[str, ...]


def match(spec: Mapping[str, Any], classes: Sequence[str] = (), family: str | None = None) -> Match:
    """The family that has this network, without what it cannot name.  classes: names of the labels, if known.

    family: the model_type of the only one to be asked, every one if None. The fewer heads are left out and the less
    differs, the better; XfmError where the network is no family's.
    """
    found, reasons = [], []
    asked = [one for one in WRITTEN if one.keys and family in (None, one.model_type)]
    if family is not None and not asked:
        raise XfmError(f"xfm reads checkpoints of the family {family!r} and does not write them")
    for variant, moved in variants(complete(spec)):
        for one in asked:
            try:
                m, differ = written(one, variant, moved, classes)
            except XfmError as error:
                reasons.append((1000, f"{one.model_type}: {line(error)}"))
            except (KeyError, IndexError, TypeError, ValueError, AttributeError):  # another kind of network altogether
                continue
            else:
                found += [] if differ else [m]
                reasons += [(sum(map(size, differ)), f"{one.model_type}: {told(differ[0])}")] if differ else []
    if found:
        return min(found, key=lambda m: (len(m.left), len(m.near)))
    words = list(dict.fromkeys(words for _, words in sorted(reasons, key=lambda reason: reason[0])))
    why = f" ({'; '.join(words[:NEAREST])})" if words else ""
    which = "no family of the Hub that xfm can write has" if family is None else f"the Hub's {family} does not have"
    raise XfmError(f"{which} this network{why}")


def variants(spec: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, str]]]:
    """The spec as it is, and with each pooler moved into the one head that reads it, as RoBERTa has it."""
    yield spec, {}
    heads, moved = dict(spec["heads"]), {}
    for name, head in spec["heads"].items():
        pool = head.get("pool") or {}
        readers = [one for one in spec["heads"].values() if one.get("pool") == pool]
        if pool.get("kind") == "of_head" and len(readers) == 1 and pool["head"] in heads:
            heads[name] = dict(head, pool=heads.pop(pool["head"])["pool"])
            moved[f"head_{pool['head']}/"] = f"head_{name}/"
    if moved:
        yield dict(spec, heads=heads), moved


def written(
    family: Family, spec: Mapping[str, Any], moved: Mapping[str, str], classes: Sequence[str]
) -> tuple[Match, list[Difference]]:
    """The network as this family would write it, and in what it then would be another one."""
    heads: dict[str, Head] = {}
    for task, head in family.heads.items():  # of several ways to keep a head, the first
        if head.name in spec["heads"] and all(head.name != other.name for other in heads.values()):
            untied = (spec["heads"][head.name] or {}).get("table") == "own"
            heads[task] = head.told_apart() if untied else head
    names = {head.name for head in heads.values()}
    left = tuple(name for name in spec["heads"] if name not in names)
    spec = dict(spec, heads={name: head for name, head in spec["heads"].items() if name in names})
    a_class = family.classes + next(iter(family.architectures))
    content = {"model_type": family.model_type, "architectures": [class_of(family, tuple(heads), [a_class])]}
    settings = Settings(content | described(family.keys, spec) | labels_of(spec["heads"], classes))
    again = complete(dict(family.network(settings)) | {"heads": {h.name: h.spec(settings) for h in heads.values()}})
    settings.finish()
    differ = list(differences(spec, again))
    fields = [place.rpartition(".")[2] for place, _, _ in differ]
    near = dict.fromkeys(family.near[field] for field in fields if field in family.near)
    differ = [one for one, field in zip(differ, fields, strict=True) if field not in family.near]
    return Match(family, settings, heads, again, moved, left, tuple(near)), differ


def labels_of(heads: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """The classes of config.json, of the one head that has some of its own."""
    inner = {name: head.get("head") if head["kind"] == "dense" else head for name, head in heads.items()}
    counts = [head["classes"] for name, head in inner.items() if "classes" in (head or {}) and name != "nsp"]
    if not counts:
        return {}
    labels = list(names) if len(names) == counts[0] else [f"LABEL_{i}" for i in range(counts[0])]
    ids = {label: i for i, label in enumerate(labels)}
    return {"id2label": {str(i): label for label, i in ids.items()}, "label2id": ids}


def differences(one: Any, other: Any, where: str = "model") -> Iterator[Difference]:
    """Where two complete specs differ in what changes a result."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            added = key in BIASES and (one.get(key), other.get(key)) == (False, True)
            if key not in PASSING and not added:
                yield from differences(one.get(key), other.get(key), f"{where}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{where}.{i}")
    else:
        nothing = (None, {}, [], ())  # a field that may as well be absent; False is not, its default may be True
        if not (one == other or (one in nothing and other in nothing)):
            yield where, one, other


def told(difference: Difference) -> str:
    place, one, other = difference
    return f"{place} is {one!r} and would be {other!r}"


def size(difference: Difference) -> int:
    """Of a difference, for finding the nearest family: how many fields are in it."""

    def leaves(value: Any) -> int:
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        return max(1, sum(map(leaves, values)))

    return max(map(leaves, difference[1:]))
