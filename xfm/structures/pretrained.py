"""The network of a checkpoint as a spec: {"kind": "pretrained", "default": …, "heads": …, any field of a structure}.

It stands for the network of `config.start.source`, with these heads, and with the other fields given here in place of
the checkpoint's; without a source it stands for `default`. A head may be of the same kind: it is then the checkpoint's
family's own head of that name, or `default` where there is none, with the other fields given.
A mapping without a `kind` changes single fields of the checkpoint's part (residual={"drop": 0.2}); any other value
replaces the field.
"""

from collections.abc import Callable, Mapping
from typing import Any

from xfm.parts.head import HEADS
from xfm.spec import Spec, SpecError, named, plain, schema
from xfm.structures.heads import heads_read

KIND = "pretrained"
OWN = ("kind", "default", "heads")

Heads = Mapping[str, Spec]
OwnHead = Callable[[str, int | None], Heads | None]


def no_head(name: str, classes: int | None) -> Heads | None:
    """None, for a network without a checkpoint, which has no heads of its own."""
    return None


def is_pretrained(spec: Any) -> bool:
    """Whether a spec leaves the network, or a head, to a checkpoint."""
    return isinstance(spec, Mapping) and spec.get("kind") == KIND


def network(spec: Spec, base: Spec | None = None, own: OwnHead = no_head) -> dict[str, Any]:
    """The spec of the structure that `spec` stands for; a spec of another kind is returned as it is.

    base: the checkpoint's network; `default` if None.  own: from a head's name and its number of classes to the
    checkpoint's family's head of that name, with the heads that it needs before it; None where it has none.
    """
    spec = plain(spec)
    if not is_pretrained(spec):
        return spec
    default = spec.get("default")
    if not isinstance(base or default, Mapping):
        raise SpecError("structure 'pretrained' needs 'default', the network where config.start.source names none")
    whole = plain(base or default)
    fields = {name: changed(whole.get(name), value) for name, value in spec.items() if name not in OWN}
    known = {**(default or {}).get("heads", {}), **whole.get("heads", {})}
    return {**whole, **fields, "heads": with_heads(spec.get("heads", {}), known, own)}


def changed(there: Any, given: Any) -> Any:
    """`given`, or, if that names single fields of the part in `there`, that part with these fields changed."""
    if not (isinstance(given, Mapping) and given and "kind" not in given):
        return given
    if not (isinstance(there, Mapping) and "kind" in there):
        return given
    return {**there, **{name: changed(there.get(name), value) for name, value in given.items()}}


def with_heads(wanted: Heads, known: Heads, own: OwnHead) -> dict[str, Any]:
    """The wanted heads, each after the heads that it reads, which may come from `known`."""
    made: dict[str, Any] = {}
    for name, head in wanted.items():
        found = own_head(name, head, own) if is_pretrained(head) else {name: head}
        there = {**known, **found}
        made |= {read: there[read] for read in heads_read(found[name]) if read in there and read not in wanted}
        made[name] = found[name]
    return made


def own_head(name: str, head: Spec, own: OwnHead) -> dict[str, Any]:
    """The heads that a head of kind "pretrained" stands for, by name."""
    given = {field: value for field, value in head.items() if field not in ("kind", "default")}
    found = own(name, given.get("classes"))
    if found is None:
        if not isinstance(head.get("default"), Mapping):
            raise SpecError(
                f"head {name!r} of kind 'pretrained' needs 'default', the head where the checkpoint has none"
            )
        found = {name: head["default"]}
    return {**found, name: with_fields(name, plain(found[name]), given)}


def _has(head: Spec, field: str) -> bool:
    """Whether a head may have the field; True for a kind that does not exist, which `build` refuses."""
    classes = named(head.get("kind"), HEADS)
    return not classes or field in schema(classes[0])


def with_fields(name: str, head: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The head with these fields set, in itself or in the head that it contains."""
    for field, value in given.items():
        inner = head.get("head")
        if _has(head, field) and not (isinstance(inner, Mapping) and _has(inner, field)):
            head[field] = value
        elif isinstance(inner, Mapping):
            head["head"] = with_fields(name, dict(inner), {field: value})
        else:
            raise SpecError(f"head {name!r} is a {head['kind']!r} here, which has no field {field!r}")
    return head
