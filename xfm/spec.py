"""From a spec, which is plain data, to the object it describes.

A spec is a mapping with a `kind`, looked up in a slot's table, and the fields of the class found there. The fields
of the dataclass are the schema; nothing else says what a part accepts.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from flax.core import FrozenDict

from xfm.errors import XfmError, nearest
from xfm.fields import NotEmpty, fault, shown

Spec = Mapping[str, Any]
Pattern = Annotated[Sequence[Spec], NotEmpty()]


class SpecError(XfmError, ValueError):
    """A spec that describes no part."""


def build(table: Mapping[str, type], spec: Spec, **given: Any) -> Any:
    """The object that `spec` describes; `given` are fields that the caller fixes, `name` for one.

    Raises SpecError for a kind or a field that does not exist, for a required field that is missing, and for a value
    that its field may not hold (see `xfm/fields.py`); the message names the slot, and what is legal.
    """
    slot = _slot(table)
    spec = plain(spec)
    if not isinstance(spec, Mapping):
        raise SpecError(f"a spec of slot '{slot}' is a mapping with a 'kind', not {shown(spec)}")
    spec = dict(spec)
    kind = spec.pop("kind", None)
    if not isinstance(kind, str) or kind not in table:
        raise SpecError(f"slot '{slot}' has no kind {shown(kind)}{nearest(kind, table)}; it has {_listed(table)}")
    slot, fields = _slot({kind: table[kind]}), schema(table[kind])
    for field in spec:
        if field not in fields:
            raise SpecError(f"{slot} '{kind}' has no field {field!r}{nearest(field, fields)}; it has {_listed(fields)}")
    missing = [f for f, required in fields.items() if required and f not in spec and f not in given]
    if missing:
        raise SpecError(f"{slot} '{kind}' needs {_listed(missing)}; the spec gives {_listed(spec)}")
    check_values(table[kind], spec, f"{slot} '{kind}': ")
    return table[kind](**{field: freeze(value) for field, value in spec.items()}, **given)


def check_values(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Raises SpecError, `where` being the words it begins with, for a value that its field of `cls` may not hold."""
    hints = {field.name: field.type for field in dataclasses.fields(cls)}
    for name, value in values.items():
        if wanted := fault(value, hints[name]):
            raise SpecError(f"{where}{name} is {shown(value)}; it must be {wanted}")


def function_of(
    table: Mapping[str, Callable], spec: Spec, what: str, given: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The kind and the settings of a spec whose kinds are functions; what: such a function is, in words.

    Settings are the parameters that have a default or are given by name only, without those that the caller gives;
    they are checked as fields are.
    """
    if not isinstance(spec, Mapping):
        raise SpecError(f"a {what} is a mapping with a 'kind', not {shown(spec)}")
    settings = dict(spec)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in table:
        raise SpecError(f"there is no {what} {shown(kind)}{nearest(kind, table)}; there are {_listed(table)}")
    found = [one for one in inspect.signature(table[kind]).parameters.values() if one.name not in given]
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
    """The fields that a spec may set, each with whether it must."""
    return {
        field.name: field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        for field in dataclasses.fields(cls)
        if field.init and field.name not in ("parent", "name")
    }


def plain(value: Any) -> Any:
    """Dicts and lists in place of whatever looks like them, such as ml_collections.ConfigDict, which is no Mapping."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def freeze(value: Any) -> Any:
    """Plain data made hashable, as fields of a Flax module must be: FrozenDict for mappings, tuples for sequences."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(freeze(item) for item in value)
    return value


def _slot(table: Mapping[str, type]) -> str:
    """`mixer or ffn` for a table whose classes live in those packages, `optimiser` for one in that file of `train`."""
    paths = (cls.__module__.split(".") for cls in table.values())
    names = (path[-1] if path[-2:-1] in ([], ["train"]) else path[-2] for path in paths)
    return " or ".join(dict.fromkeys(name.removesuffix("s") for name in names))


def _listed(names) -> str:
    return ", ".join(str(name) for name in names) or "none"
