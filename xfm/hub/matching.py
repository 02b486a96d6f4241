"""Finds the family of the Hub that can express a network of xfm, with its config.json, its heads and its parameters.

A family is tried if it has `keys`, from which config.json is made. The result is not trusted: the network that the new
config.json describes must equal the given one, field by field. Two differences are accepted: biases (which are then
written as zeros) where the given network has none, and fields that the family lists in `near`, which are reported.
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

PASSING = ("drop", "drop_path", "position_drop", "dtype", "remat", "most")  # fields that do not change the result
BIASES = ("bias", "out_bias")  # fields that may say that there is none; the Hub's files then have zeros
NEAREST = 3  # the number of families that an error names
Difference = tuple[str, Any, Any]  # a path, and the values of the two specs there


@dataclasses.dataclass(frozen=True)
class Match:
    """A family that can express a network, and how it does.

    settings: the new config.json.  heads: by the Hub's names of tasks.  spec: the network that config.json describes.
    moved: prefix of a parameter's path -> its new prefix.  left: names of heads that the family does not have.
    near: notes about accepted differences.
    """

    family: Family
    settings: Settings
    heads: Mapping[str, Head]
    spec: Mapping[str, Any]
    moved: Mapping[str, str]
    left: tuple[str, ...]
    near: tuple[str, ...]


def match(spec: Mapping[str, Any], classes: Sequence[str] = (), family: str | None = None) -> Match:
    """The family that expresses a network best: with the fewest heads left out, then with the fewest differences.

    spec: of the network.  classes: names of the labels, if known.
    family: the model_type of the only family to try; None for all.
    Raises XfmError, with the nearest families and a difference each, if no family has this network.
    """
    found, reasons = [], []
    asked = [one for one in WRITTEN if one.keys and family in (None, one.model_type)]
    if family is not None and not asked:
        raise XfmError(f"xfm reads checkpoints of the family {family!r}, but cannot write them; choose another one")
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
                reasons += [(sum(map(size, differ)), f"{one.model_type}: {in_words(differ[0])}")] if differ else []
    if found:
        return min(found, key=lambda m: (len(m.left), len(m.near)))
    words = list(dict.fromkeys(words for _, words in sorted(reasons, key=lambda reason: reason[0])))
    why = f" ({'; '.join(words[:NEAREST])})" if words else ""
    which = "no family of the Hub that xfm can write has" if family is None else f"the Hub's {family} does not have"
    raise XfmError(f"{which} this network{why}")


def variants(spec: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, str]]]:
    """The spec itself, and one in which poolers are parts of the only head that uses them, as in RoBERTa.

    Each comes with the prefixes of parameter paths that change.
    """
    yield spec, {}
    if "towers" in spec:  # whose heads are of their towers
        return
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
    """The network as this family expresses it, and the differences that are not accepted; arguments as in Match."""
    if "towers" in spec:
        return of_towers(family, spec)
    heads: dict[str, Head] = {}
    for task, head in family.heads.items():  # if several tasks have a head of this name, the first
        if head.name in spec["heads"] and all(head.name != other.name for other in heads.values()):
            own_table = (spec["heads"][head.name] or {}).get("table") == "own"
            heads[task] = head.untied() if own_table else head
    names = {head.name for head in heads.values()}
    left = tuple(name for name in spec["heads"] if name not in names)
    spec = dict(spec, heads={name: head for name, head in spec["heads"].items() if name in names})
    a_class = family.classes + next(iter(family.architectures))
    content = {"model_type": family.model_type, "architectures": [class_of(family, tuple(heads), [a_class])]}
    settings = Settings(content | described(family.keys, spec) | labels_of(spec["heads"], classes))
    again = complete(dict(family.network(settings)) | {"heads": {h.name: h.spec(settings) for h in heads.values()}})
    settings.finish()
    differ = list(differences(spec, again))
    fields = [path.rpartition(".")[2] for path, _, _ in differ]
    near = dict.fromkeys(family.near[field] for field in fields if field in family.near)
    differ = [one for one, field in zip(differ, fields, strict=True) if field not in family.near]
    return Match(family.described_by(settings), settings, heads, again, moved, left, tuple(near)), differ


def of_towers(family: Family, spec: Mapping[str, Any]) -> tuple[Match, list[Difference]]:
    """`written` for a network of several towers, whose heads belong to the network itself.

    From which values the scale and the bias of similarities start does not change the result.
    """
    content = {"model_type": family.model_type, "architectures": [family.classes + next(iter(family.architectures))]}
    settings = Settings(content | described(family.keys, spec))
    again = complete(dict(family.network(settings)))
    settings.finish()
    starts = {key: again[key] for key in ("scale", "bias") if (spec[key] is None) == (again[key] is None)}
    differ = list(differences({**spec, **starts}, again))
    return Match(family.described_by(settings), settings, {}, again, {}, (), ()), differ


def labels_of(heads: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """id2label and label2id of config.json, for the first head with classes other than next-sentence prediction.

    names: of the classes; "LABEL_0" and so on if their number does not fit.
    """
    inner = {name: head.get("head") if head["kind"] == "dense" else head for name, head in heads.items()}
    counts = [head["classes"] for name, head in inner.items() if "classes" in (head or {}) and name != "nsp"]
    if not counts:
        return {}
    labels = list(names) if len(names) == counts[0] else [f"LABEL_{i}" for i in range(counts[0])]
    ids = {label: i for i, label in enumerate(labels)}
    return {"id2label": {str(i): label for label, i in ids.items()}, "label2id": ids}


def differences(one: Any, other: Any, where: str = "model") -> Iterator[Difference]:
    """The differences of two complete specs in fields that change the result.  where: the path of both specs."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if key not in PASSING and not (key in BIASES and within(one.get(key), other.get(key))):
                yield from differences(one.get(key), other.get(key), f"{where}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{where}.{i}")
    else:
        nothing = (None, {}, [], ())  # values equal to an absent field; False is not, since a default may be True
        if not (one == other or (one in nothing and other in nothing)):
            yield where, one, other


def within(one: Any, other: Any) -> bool:
    """Whether the biases of one field are among those of another, where a list names the projections that have one."""
    if not isinstance(one, bool | list) or not isinstance(other, bool | list):
        return False
    return one is False or other is True or (one is not True and other is not False and set(one) <= set(other))


def in_words(difference: Difference) -> str:
    """A difference for an error message."""
    path, one, other = difference
    return f"{path} is {one!r} and would be {other!r}"


def size(difference: Difference) -> int:
    """The number of fields in a difference, by which the nearest family is found."""

    def leaves(value: Any) -> int:
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        return max(1, sum(map(leaves, values)))

    return max(map(leaves, difference[1:]))
