"""Starting from a checkpoint: config.start = {"source": a folder, a name on the Hub, or an xfm run, …}.

A network of kind "pretrained" (xfm/structures/pretrained.py) is then the checkpoint's, with the fields that the config
sets; any other network is exactly what the config says. The tokeniser is the checkpoint's in both cases.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from xfm.errors import XfmError, nearest
from xfm.fields import Name, Rate, Regex
from xfm.folders import is_run
from xfm.spec import build, defaults, named, plain, schema
from xfm.structures import STRUCTURES
from xfm.structures import build as structure
from xfm.structures.pretrained import is_pretrained, network
from xfm.train.found import NUMBER, Found, carried, classes_of, find, same_names
from xfm.transforms import lasting, operated

HEADS_AND_NORMS = ("heads", "norms", "norm")  # fields of a network that have no dropout


@dataclasses.dataclass(frozen=True)
class Start:
    """What a network starts from.

    source: folder of a checkpoint in the Hub's format, its name there, or the workdir of a run of xfm; None for none.
    head: the head to take, by the Hub's name of its task, or for a run by its name in config.model.heads. If None, a
    network of kind "pretrained" takes a pooler only, and any other network takes all heads that fit.
    revision: that of the Hub's repository.  drop: the dropout rate in a network of kind "pretrained", because files of
    the Hub do not always give it.
    fresh: regexes of the parameters that may be absent from the checkpoint, or of another shape there; they are drawn.
    layers: "path" takes the parameters of layers by their paths, like all others. "number" gives layer i those of layer
    i, however either network stacks its layers.
    renames: (regex, replacement), from paths in the network to those in the checkpoint. With layers="number", those of
    a layer's parameters are the paths within its sublayer, such as "part/q/kernel".
    export: "hub" refuses a network that `xfm convert` could not write afterwards; "none" trains it nevertheless.
    family: the model_type that `xfm convert` writes, the checkpoint's if None.
    """

    source: Name | None = None
    head: Name | None = None
    revision: Name | None = None
    drop: Rate = 0.0
    fresh: Sequence[str] = ()
    layers: Literal["path", "number"] = "path"
    renames: Sequence[tuple[Regex, str]] = ()
    export: Literal["hub", "none"] = "hub"
    family: Name | None = None


def of(config: Mapping[str, Any]) -> Start:
    """config.start.  Raises XfmError for a key that it does not have."""
    given = plain(config.get("start") or {})
    legal = schema(Start)
    for key in given:
        if key not in legal:
            raise XfmError(f"config.start has no key {key!r}{nearest(key, legal)}; it has {', '.join(legal)}")
    return build({"start": Start}, {"kind": "start", **given})


def found_for(config: Mapping[str, Any]) -> Found | None:
    """The checkpoint that a config starts from; None if there is none.

    A network that is not of kind "pretrained" takes all heads that fit, unless config.start.head names one.
    """
    start = of(config)
    if start.source is None:
        return None
    found = find(start.source, start.head, start.revision)
    if start.head is None and not is_pretrained(plain(config.get("model") or {})):
        found = dataclasses.replace(found, heads=tuple(found.spec.get("heads", {})))
    return carried(found, config.get("transforms") or ())


def resolved(config: Mapping[str, Any], found: Found | None = None) -> Mapping[str, Any]:
    """The config with the checkpoint's tokeniser, and with an ordinary network in place of one of kind "pretrained".

    found: what `found_for` returns, if it is known already.
    """
    start = of(config)
    if start.source is None:
        model = plain(config.get("model"))
        return {**plain(config), "model": network(model)} if is_pretrained(model) else config
    return _with(plain(config), start, found or found_for(config))


def _with(config: dict[str, Any], start: Start, found: Found) -> dict[str, Any]:
    from xfm.data import SOURCES

    given = config.get("model", {})
    if is_pretrained(given) and start.head is not None:
        along = {name: found.spec["heads"][name] for name in found.heads if name not in given.get("heads", {})}
        given = {**given, "heads": {**along, **given.get("heads", {})}}
    model = network(given, _dropping(found.spec, start.drop), found.own)
    asked = structure(model)
    data = dict(config["data"])
    fields = {name: one for source in named(data.get("kind"), SOURCES) for name, one in schema(source).items()}
    if "tokenizer" in fields:
        data["tokenizer"] = found.tokenizer
    if "kinds" in fields:
        types = getattr(asked, "types", None)
        data["kinds"] = max(min(found.kinds, types) if types else found.kinds, 1)
    data |= {name: value for name, value in found.pixels.items() if name in fields and name not in data}
    for name in _taken_labels(model, start, found):
        _check_classes(found.spec["heads"][name], config["objective"], start)
        if "classes" in fields and name in found.labels:
            data["classes"] = _in_order(data, found.labels[name], found.source)
    most = getattr(asked, "most", lambda: None)()
    if most is not None and data.get("length", 0) > most:
        raise XfmError(f"config.data.length is {data['length']}, and {start.source} has positions for {most} tokens")
    if data.get("packing") == "documents" and found.inputs is not None:
        raise XfmError(
            "config.data.packing='documents' restarts positions in a row, and this checkpoint cannot; use 'stream'"
        )
    begun = {**plain(config["start"]), "family": start.family or found.family}
    return {**config, "model": model, "data": data, "start": begun}


def heads_along(found: Found, start: Start) -> list[str]:
    """The checkpoint's heads that a network takes if it has heads of these names.

    They are all of found.heads, except those with classes that config.start.fresh names and config.start.head does not.
    """

    def drawn(name):
        named = any(re.search(regex, f"head_{name}/out/kernel") for regex in start.fresh)
        return named and name != found.asked and classes_of(found.spec["heads"][name])

    return [name for name in found.heads if not drawn(name)]


def _taken_labels(model: Mapping[str, Any], start: Start, found: Found) -> list[str]:
    """The heads with classes that the network takes from the checkpoint."""
    along = [name for name in heads_along(found, start) if name in model.get("heads", {})]
    return [name for name in along if classes_of(found.spec["heads"][name])]


def _check_classes(head: Mapping[str, Any], objective: Mapping[str, Any], start: Start) -> None:
    there, here = classes_of(head), objective.get("classes")
    if None not in (there, here) and there != here and start.head is not None:
        raise XfmError(
            f"the head {start.head!r} of {start.source} has {there} classes and config.objective.classes is {here}; "
            f"set it to {there}, or leave config.start.head out for a fresh head"
        )


def _in_order(data: Mapping[str, Any], names: Sequence[str], source: str) -> list[str]:
    """The names of the data's classes in the order of the head's classes, which determines their numbers.

    The names may be in any order, and in upper or lower case. Names that are numbers are the head's numbers.
    Raises XfmError if they are not the head's names.
    """
    from xfm.data import SOURCES

    rows = build(SOURCES, data)
    known = [str(name) for name in getattr(rows, "resolved", lambda: rows)().classes]
    if all(NUMBER.fullmatch(name) for name in known):
        return known or list(names)
    require_same_names(known, names, source)
    return sorted(known, key=lambda name: [one.casefold() for one in names].index(name.casefold()))


def require_same_names(here: Sequence[str], there: Sequence[str], source: str) -> None:
    """Raises XfmError, with both lists, if the data's classes are not those of the head that is taken."""
    if not same_names(here, there):
        raise XfmError(
            f"the classes of config.data are {', '.join(here)}, and those of the head in {source} are "
            f"{', '.join(there)}; give them the same names, or leave config.start.head out for a fresh head"
        )


def check_labels(classes: Sequence[str], config: Mapping[str, Any], found: Found) -> None:
    """Raises XfmError if the data numbers its classes in another order than the head that is taken."""
    for name in _taken_labels(config["model"], of(config), found):
        names = found.labels.get(name, ())
        if not names or not classes or all(NUMBER.fullmatch(one) for one in classes):
            continue
        require_same_names(classes, names, found.source)
        if [one.casefold() for one in classes] != [one.casefold() for one in names]:
            raise XfmError(
                f"the data numbers its classes {', '.join(classes)}, and the head in {found.source} "
                f"{', '.join(names)}; give the data in the head's order"
            )


def _dropping(spec: Any, rate: float) -> Any:
    """The spec with the rate in all parts that have a field `drop`, except in heads and norms."""
    from xfm.parts import SLOTS

    if isinstance(spec, list):
        return [_dropping(one, rate) for one in spec]
    if not isinstance(spec, Mapping):
        return spec
    if not rate:
        return spec
    for cls in named(spec.get("kind"), STRUCTURES):  # parts that it leaves to their default get the rate as well
        spec = {**{name: one for name, one in defaults(cls).items() if name not in HEADS_AND_NORMS}, **spec}
    out = {key: value if key in HEADS_AND_NORMS else _dropping(value, rate) for key, value in spec.items()}
    classes = named(spec.get("kind"), *(table for slot, table in SLOTS.items() if slot != "head"))
    return out | ({"drop": rate} if any("drop" in schema(cls) for cls in classes) else {})


def require_way_out(config: Mapping[str, Any]) -> None:
    """Raises XfmError where a run that starts from the Hub could not be written for the Hub afterwards.

    config: a resolved one.
    """
    start = of(config)
    if start.source is None or start.export == "none" or is_run(start.source):
        return
    reason = kept_here(config)
    if reason is not None:
        raise XfmError(
            f"`xfm convert` could not write this network, which starts from {start.source}: {reason}; to train it "
            "nevertheless, set config.start.export=none; xfm.load can open the run"
        )


def kept_here(config: Mapping[str, Any]) -> str | None:
    """Why `xfm convert` cannot write a config's network, or a head of it; None if it can, or if there is no network."""
    from xfm.hub.matching import match
    from xfm.hub.sentence.heads import unwritten

    model, transforms = config.get("model"), config.get("transforms") or ()
    if model is None:
        return None
    if name := lasting(transforms):
        return f"transform {name!r} cannot be merged into the weights"
    model, _ = operated(model, None, transforms)
    try:
        m = match(model, family=of(config).family)
    except XfmError as error:
        return str(error)
    heads = unwritten(m, model)
    return f"the Hub's {m.family.model_type} has no place for the head {heads[0]!r}" if heads else None
