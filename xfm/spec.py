"""Builds the object that a spec, which is plain data, describes.

A spec is a mapping with a `kind`, which is looked up in a slot's table, and values for fields of the class found there.
The fields of that dataclass are the whole schema. A kind "package.module:Class" names a class outside the tables
(`xfm/outside.py`).
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from flax.core import FrozenDict

from xfm.errors import SpecError, nearest
from xfm.fields import NotEmpty, fault, shown
from xfm.moved import moved, moved_field
from xfm.outside import imported, is_outside, unfit_class, unfit_function

Spec = Mapping[str, Any]
Pattern = Annotated[Sequence[Spec], NotEmpty()]


# Slot -> its table. A part that contains another part of its own slot names the slot instead of importing the table,
# because the table imports that part.
TABLES = {
    "embed": "xfm.parts.embed:EMBEDS",
    "stem": "xfm.parts.stem:STEMS",
    "position": "xfm.parts.position:POSITIONS",
    "sight": "xfm.parts.sight:SIGHTS",
    "mixer": "xfm.parts.mixer:MIXERS",
    "ffn": "xfm.parts.ffn:FFNS",
    "norm": "xfm.parts.norm:NORMS",
    "residual": "xfm.parts.residual:RESIDUALS",
    "down": "xfm.parts.down:DOWNS",
    "pool": "xfm.parts.pool:POOLS",
    "head": "xfm.parts.head:HEADS",
    "structure": "xfm.structures:STRUCTURES",
    "objective": "xfm.objectives:OBJECTIVES",
    "source": "xfm.data:SOURCES",
}
Table = Mapping[str, Any] | str  # a table, or the name of a slot in TABLES


def build(table: Table, spec: Spec, **given: Any) -> Any:
    """The object that `spec` describes.  given: fields that the caller sets and the spec may not, such as `name`.

    Raises SpecError for a kind or a field that does not exist, for a required field that is missing, for a field that
    the caller sets, and for a value that its field may not hold (see `xfm/fields.py`). The message names the slot and
    what is legal.
    """
    table = table_of(table)
    slot = _slot(table)
    spec = plain(spec)
    if not isinstance(spec, Mapping):
        raise SpecError(f"a spec of slot '{slot}' is a mapping with a 'kind', not {shown(spec)}")
    spec = dict(spec)
    kind = spec.pop("kind", None)
    cls = lookup(table, kind)
    if cls is None:
        instead = moved(slot, kind, spec) or f"it has {_listed(table)}"
        raise SpecError(f"slot '{slot}' has no kind {shown(kind)}{nearest(kind, table)}; {instead}")
    slot, fields = _slot({kind: cls}) if kind in table else slot, schema(cls)
    for field in spec:
        if field not in fields:
            instead = moved_field(slot, kind, field, spec[field]) or f"it has {_listed(fields)}"
            raise SpecError(f"{slot} '{kind}' has no field {field!r}{nearest(field, fields)}; {instead}")
        if field in given:
            raise SpecError(f"{slot} '{kind}': {field} cannot be set by a spec, because xfm sets it; leave it out")
    taken = {field.name for field in dataclasses.fields(cls) if field.init}
    if missing := [field for field in given if field not in taken]:
        raise SpecError(f"{slot} '{kind}' has no field {missing[0]!r}, which xfm sets; declare it in {cls.__name__}")
    missing = [f for f, required in fields.items() if required and f not in spec and f not in given]
    if missing:
        raise SpecError(f"{slot} '{kind}' needs {_listed(missing)}; the spec gives {_listed(spec)}")
    check_values(cls, spec, f"{slot} '{kind}': ")
    return cls(**{field: freeze(value) for field, value in spec.items()}, **given)


def table_of(table: Table) -> Mapping[str, Any]:
    """The table of a slot, if a name is given; a table is returned as it is."""
    if not isinstance(table, str):
        return table
    module, name = TABLES[table].split(":")
    return getattr(importlib.import_module(module), name)


def lookup(table: Table, kind: Any) -> Any:
    """The class or function that a kind names, in the table or outside it; None if there is none.

    Raises SpecError for one outside that cannot be imported, or that does not have the methods of the table's classes
    or the arguments of its functions.
    """
    table = table_of(table)
    if isinstance(kind, str) and kind in table:
        return table[kind]
    if not is_outside(kind):
        return None
    found = imported(kind)
    members = list(table.values())
    if why := unfit_class(found, members) if all(map(inspect.isclass, members)) else unfit_function(found, members):
        raise SpecError(f"{kind!r} does not fit slot {_slot(table)!r}: {why}")
    return found


def named(kind: Any, *tables: Table) -> list[type]:
    """All classes with this kind in the tables, for callers that read a spec without knowing its slot.

    For a kind outside the tables, its class; `build` checks whether it fits.
    """
    if is_outside(kind):
        return [imported(kind)]
    return [table[kind] for table in map(table_of, tables) if isinstance(kind, str) and kind in table]


def check_values(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Checks values for fields of `cls`. Raises SpecError, which begins with `where`, for one that is not legal."""
    hints = {field.name: field.type for field in dataclasses.fields(cls)}
    for name, value in values.items():
        if wanted := fault(value, hints[name]):
            raise SpecError(f"{where}{name} is {shown(value)}; it must be {wanted}")


def function_of(
    table: Mapping[str, Callable], spec: Spec, what: str, given: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The kind and the settings of a spec whose kinds are functions (found by `lookup`), after checking both.

    what: the word for such a function in errors.  given: parameters that the caller passes and the spec may not set.
    Settings are the other parameters that have a default or are keyword-only; they are checked like fields.
    Raises SpecError for a kind or a setting that does not exist, is missing, or has a value that is not legal.
    """
    if not isinstance(spec, Mapping):
        raise SpecError(f"a {what} is a mapping with a 'kind', not {shown(spec)}")
    settings = dict(spec)
    kind = settings.pop("kind", None)
    function = lookup(table, kind)
    if function is None:
        raise SpecError(f"there is no {what} {shown(kind)}{nearest(kind, table)}; there are {_listed(table)}")
    found = [one for one in inspect.signature(function).parameters.values() if one.name not in given]
    needed = [one.name for one in found if one.default is one.empty and one.kind is one.KEYWORD_ONLY]
    legal = {one.name: one.annotation for one in found if one.default is not one.empty or one.name in needed}
    if missing := [name for name in needed if name not in settings]:
        raise SpecError(f"the {what} {kind!r} needs {_listed(missing)}; the spec gives {_listed(settings)}")
    for name, value in settings.items():
        if name not in legal:
            raise SpecError(f"the {what} {kind!r} has no {name!r}{nearest(name, legal)}; it has {_listed(legal)}")
        if wanted := fault(value, legal[name]):
            raise SpecError(f"the {what} {kind!r}: {name} is {shown(value)}; it must be {wanted}")
    return kind, settings


def schema(cls: type) -> dict[str, bool]:
    """The fields that a spec may set: name -> whether it must."""
    return {
        field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(cls)
        if field.init and field.name not in ("parent", "name")
    }


def defaults(cls: type) -> dict[str, Any]:
    """The default values of a class's fields that are specs, as plain data."""
    found = {field.name: plain(field.default) for field in dataclasses.fields(cls) if field.name in schema(cls)}
    return {name: value for name, value in found.items() if isinstance(value, Mapping) and "kind" in value}


def plain(value: Any) -> Any:
    """The value with all mappings as dicts and sequences as lists; ml_collections.ConfigDict counts as a mapping."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def nested(spec: Any, but: Sequence[str] = ()) -> Iterator[Spec]:
    """All specs (mappings with a kind) nested in plain data, outer ones first.  but: fields that are not entered."""
    if isinstance(spec, Mapping):
        yield from [spec] if "kind" in spec else []
        for name, value in spec.items():
            yield from nested(value, but) if name not in but else ()
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        for one in spec:
            yield from nested(one, but)


def freeze(value: Any) -> Any:
    """The value in hashable form, as fields of Flax modules need it: mappings as FrozenDict, sequences as tuples."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(freeze(item) for item in value)
    return value


def _slot(table: Mapping[str, type]) -> str:
    """The name of a table's slot, from the packages or files of its classes: "mixer or ffn", or "optimiser"."""
    paths = (cls.__module__.split(".") for cls in table.values())
    names = (path[-1] if path[-2:-1] in ([], ["train"]) else path[-2] for path in paths)
    return " or ".join(dict.fromkeys(name.removesuffix("s") for name in names))


def _listed(names) -> str:
    return ", ".join(str(name) for name in names) or "none"
