"""Overrides such as `model.repeats=3`, which set values of a config from the command line.

The keys and types of an override are checked. The keys of a spec (a mapping with a `kind`) are the fields of the class
that the kind names, with their types. At the top of a config, the keys are those that the config has or the trainer
knows. In other mappings, the keys are those that are already there; only a mapping with free names, such as `heads`,
accepts a new name, and then only with a whole spec.
"""

import ast
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from xfm.errors import XfmError, nearest
from xfm.fields import fits, in_words, options, shown
from xfm.spec import named, plain


def apply_overrides(config: Any, overrides: Iterable[str], note: Callable = lambda text: None) -> ConfigDict:
    """A copy of `config` with overrides of the form `path.to.key=value`.

    Items of lists are addressed by number, as in `model.pattern.0.heads=8`. A value is a Python literal, or else text.
    If a `kind` is set, fields that only the old kind has are removed.
    note: is called with a sentence about each removed field.
    Raises XfmError for a key that does not exist, with the nearest and the legal ones, and for a value of a wrong type.
    """
    config = plain(config)
    for override in overrides:
        path, equals, text = override.partition("=")
        steps = path.strip().split(".")
        if not equals or not all(steps):
            raise XfmError(f"{override!r} sets nothing; write it as key=value, such as model.repeats=3")
        _set(config, steps, text, note)
    return ConfigDict(config)


def _set(config: dict, steps: list[str], text: str, note: Callable) -> None:
    inside, where, root = config, "config", steps[0]
    for step in steps[:-1]:
        if _left_to_checkpoint(inside, where, root) and step not in inside:
            if Mapping in options((_hints(inside, where, root) or {}).get(step)):
                inside[step] = {}  # will hold single fields of a part that comes from the checkpoint
        inside, where = inside[_key(inside, step, where, root)], f"{where}.{step}"
    last = steps[-1]
    if isinstance(inside, Mapping) and last not in inside:
        hints = _hints(inside, where, root)
        free = hints is None and all(isinstance(one, Mapping) for one in inside.values())
        if last not in (hints or {}) and not (free and isinstance(_literal(text), Mapping)):
            raise _unknown(inside, last, where, root)
        hint = (hints or {}).get(last, Mapping)
    else:
        last = _key(inside, last, where, root)
        hint = (_hints(inside, where, root) or {}).get(last, _hint_of(inside[last]))
    value = _value(f"{where}.{last}", text, hint)
    if last == "kind" and value != inside.get("kind"):
        _change_kind(inside, value, where, root, note)
    inside[last] = value


def _key(inside: Any, step: str, where: str, root: str) -> Any:
    """The step `step` as a key or an index of the value at `where`. Raises XfmError if it has no such key."""
    if isinstance(inside, list):
        if not step.isdecimal() or int(step) >= len(inside):
            raise XfmError(f"{where} is a list of {len(inside)}; it has no entry {step!r}, but 0 to {len(inside) - 1}")
        return int(step)
    if not isinstance(inside, Mapping):
        raise XfmError(f"{where} is {inside!r} and has no parts, so no key {step!r}")
    if step not in inside:
        hints = _hints(inside, where, root) or {}
        if step in hints:
            whole = "[…]" if Sequence in options(hints[step]) else "{…}"
            raise XfmError(f"{where} does not set {step!r}; give it whole, as in {where}.{step}={whole}")
        raise _unknown(inside, step, where, root)
    return step


def _unknown(inside: Mapping, key: str, where: str, root: str) -> XfmError:
    legal = list(dict.fromkeys([*inside, *(_hints(inside, where, root) or {})]))
    return XfmError(f"{where} has no key {key!r}{nearest(key, legal)}; it has {', '.join(legal) or 'none'}")


def _hints(inside: Any, where: str, root: str) -> dict[str, Any] | None:
    """The legal keys of a mapping with their types; None if its names are free.

    where: the path of the mapping.  root: the first step of that path.
    """
    if where == "config":
        from xfm.train.settings import OTHERS, TrainSettings

        others = {"init": Sequence, "transforms": Sequence[Mapping], "evals": Sequence, "name": str, "notes": str}
        return {**{name: others.get(name, Mapping) for name in OTHERS}, **_fields(TrainSettings)}
    if where == "config.start":
        from xfm.train.start import Start

        return _fields(Start)
    if not isinstance(inside, Mapping):
        return None
    if _left_to_checkpoint(inside, where, root):
        slot = _tables_of_slot(where)
        meant = _hints(inside["default"], where, root) if "kind" in inside else None
        return {**(meant or {}), **{k: v for cls in slot for k, v in _fields(cls).items()}, "kind": str}
    if "kind" not in inside:
        return None
    found = _classes(inside["kind"], root)
    fitting = [cls for cls in found if set(inside) - {"kind"} <= set(_fields(cls))] or found
    return {"kind": str, **{k: v for cls in fitting for k, v in _fields(cls).items()}} if found else None


def _left_to_checkpoint(inside: Any, where: str, root: str) -> bool:
    """Whether a mapping has the kind "pretrained", or only sets single fields of a part of such a network."""
    if root != "model" or not isinstance(inside, Mapping):
        return False
    if "kind" not in inside:
        return bool(_tables_of_slot(where))
    return inside["kind"] == "pretrained" and isinstance(inside.get("default"), Mapping)


def _tables_of_slot(where: str) -> list[type]:
    """The classes of the slot that the last step of `where` names, such as residual in config.model.residual."""
    from xfm.parts import SLOTS

    return list(SLOTS.get(where.rpartition(".")[2], {}).values())


def _change_kind(spec: dict, kind: str, where: str, root: str, note: Callable) -> None:
    old = {name for cls in _classes(spec.get("kind"), root) for name in _fields(cls)}
    new = {name for cls in _classes(kind, root) for name in _fields(cls)}
    for field in [name for name in spec if new and name in old - new]:
        del spec[field]
        note(f"{where}.{field} is dropped: {kind!r} has no such field")


def _classes(kind: Any, root: str) -> list[type]:
    """The classes with this kind in the tables that are used under `config.<root>`."""
    return named(kind, *_tables(root))


def _tables(root: str) -> list[Mapping[str, type]]:
    if root == "model":
        from xfm.parts import SLOTS
        from xfm.structures import STRUCTURES

        return [STRUCTURES, *SLOTS.values()]
    if root == "transforms":
        from xfm.transforms import TRANSFORMS

        return [TRANSFORMS]
    if root == "objective":
        from xfm.objectives import OBJECTIVES

        return [OBJECTIVES]
    if root == "evals":
        from xfm.evaluators import EVALUATORS

        return [EVALUATORS]
    if root == "data":
        from xfm.data import SOURCES
        from xfm.data.pixels import AUGMENTS
        from xfm.tokenizers import TOKENIZERS

        return [SOURCES, TOKENIZERS, AUGMENTS]
    if root == "layout":
        from xfm.data.layout import LAYOUTS

        return [LAYOUTS]
    if root in ("optimiser", "schedule"):
        from xfm.train.optimiser import OPTIMISERS
        from xfm.train.schedules import SCHEDULES

        return [OPTIMISERS if root == "optimiser" else SCHEDULES]
    return []


def _fields(cls: type) -> dict[str, Any]:
    """The fields of a class with their types, without those that a caller sets and not the spec."""
    given = ("parent", "name", "model", "vocabulary", "initial")
    return {f.name: f.type for f in dataclasses.fields(cls) if f.init and f.name not in given}


def _hint_of(value: Any) -> Any:
    """The type that a new value must have if only the old value is known."""
    if value is None:
        return Any
    for kind in (Mapping, list):
        if isinstance(value, kind):
            return kind | None
    return type(value) if isinstance(value, bool | int) else type(value) | None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _value(where: str, text: str, hint: Any) -> Any:
    """The value that a text spells for a key of type `hint`. Raises XfmError, naming `where`, if it does not fit."""
    literal = plain(_literal(text))
    if isinstance(literal, float) and literal.is_integer() and not fits(literal, hint):
        literal = int(literal)
    if fits(literal, hint):
        return literal
    if not _is_meant(literal, text, hint) and fits(text, hint):
        return text
    raise XfmError(f"{where} takes {in_words(hint)}, not {shown(text)}{_advice(where, literal, hint)}")


def _is_meant(literal: Any, text: str, hint: Any) -> bool:
    """Whether a literal that does not fit must not be read as text: it is a quoted text, or a number for a number."""
    numeric = isinstance(literal, int | float) and {int, float} & set(options(hint))
    return bool(numeric) or (isinstance(literal, str) and literal != text)


def _advice(where: str, value: Any, hint: Any) -> str:
    is_name = isinstance(value, str) and value.isidentifier()
    return f"; to name a kind write {where}.kind={value}" if is_name and Mapping in options(hint) else ""
