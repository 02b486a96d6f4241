"""From a spec, which is plain data, to the object it describes.

A spec is a mapping with a `kind`, looked up in a slot's table, and the fields of the class found there. The fields
of the dataclass are the schema; nothing else says what a part accepts.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flax.core import FrozenDict

from xfm.errors import XfmError, nearest

Spec = Mapping[str, Any]


class SpecError(XfmError, ValueError):
    """A spec that describes no part."""


def build(table: Mapping[str, type], spec: Spec, **given: Any) -> Any:
    """The object that `spec` describes; `given` are fields that the caller fixes, `name` for one.

    Raises SpecError for a kind or a field that does not exist, and for a required field that is missing; the message
    names the slot, the legal names and the nearest of them.
    """
    slot = _slot(table)
    spec = plain(spec)
    if not isinstance(spec, Mapping):
        raise SpecError(f"a spec of slot '{slot}' is a mapping with a 'kind', not {spec!r}")
    spec = dict(spec)
    kind = spec.pop("kind", None)
    if kind not in table:
        raise SpecError(f"slot '{slot}' has no kind {kind!r}{nearest(kind, table)}; it has {_listed(table)}")
    slot, fields = _slot({kind: table[kind]}), schema(table[kind])
    for field in spec:
        if field not in fields:
            raise SpecError(f"{slot} '{kind}' has no field {field!r}{nearest(field, fields)}; it has {_listed(fields)}")
    missing = [f for f, required in fields.items() if required and f not in spec and f not in given]
    if missing:
        raise SpecError(f"{slot} '{kind}' needs {_listed(missing)}; the spec gives {_listed(spec)}")
    return table[kind](**{field: freeze(value) for field, value in spec.items()}, **given)


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
    """`mixer or ffn` for a table whose classes live in those packages, `structure` for one in `structures`."""
    paths = (cls.__module__.split(".") for cls in table.values())
    return " or ".join(dict.fromkeys(path[-2:][0].removesuffix("s") for path in paths))


def _listed(names) -> str:
    return ", ".join(str(name) for name in names) or "none"
