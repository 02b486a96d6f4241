"""The output of `xfm list`: filtered configs, one per line; or papers, each with what proves its config."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xfm.catalogue import Entry, find
from xfm.errors import XfmError, nearest
from xfm.parts import SLOTS
from xfm.spec import lookup, plain


def chosen(
    found: Iterable[Entry], family: str | None = None, slot: str | None = None, paper: str | None = None
) -> list[tuple[Entry, tuple[str, ...]]]:
    """The entries that pass every filter, each with the kinds that its default variant has in `slot`.

    family: the folder.  slot: the name of a slot, or `slot=kind` for entries that use that kind.
    paper: text that the paper's line contains, ignoring case.
    Raises XfmError, with the legal names, for a family, slot or kind that does not exist.
    """
    found = list(found)
    families = sorted({entry.family for entry in found})
    if family is not None and family not in families:
        raise XfmError(f"there is no family {family!r}{nearest(family, families)}; there are {', '.join(families)}")
    kept = [entry for entry in found if family in (None, entry.family)]
    kept = [entry for entry in kept if paper is None or paper.casefold() in entry.paper.casefold()]
    if slot is None:
        return [(entry, ()) for entry in kept]
    slot, _, kind = slot.partition("=")
    _check(slot, kind)
    used = [(entry, kinds_of(entry, slot)) for entry in kept]
    return [(entry, kinds) for entry, kinds in used if kinds and (not kind or kind in kinds)]


def kinds_of(entry: Entry, slot: str) -> tuple[str, ...]:
    """The kinds of a slot that the default variant of a config uses, in the order of its spec."""
    module, _, variant = find(f"{entry.config}:{entry.default}")
    return tuple(dict.fromkeys(_kinds(plain(module.get_config(variant))["model"], slot)))


def lines(rows: Sequence[tuple[Entry, tuple[str, ...]]], width: int) -> str:
    """A table with a line for each entry: config, kinds (if there are any), variants, paper; `width` columns wide."""
    cells = [(one.config, ", ".join(kinds), folded(one.variants, one.default), one.paper) for one, kinds in rows]
    titles = ("config", "uses", "variants", "paper")
    shown = [i for i in range(4) if i != 1 or any(row[1] for row in cells)]
    table = [[row[i] for i in shown] for row in (titles, *cells)]
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = ["  ".join(f"{cell:{size}}" for cell, size in zip(row, sizes, strict=True)).rstrip() for row in table]
    return "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in text)


def papers(rows: Sequence[tuple[Entry, tuple[str, ...]]], width: int) -> str:
    """A paragraph for each paper, sorted: the paper, and below it the config and what proves it."""
    return "\n".join(
        "\n".join([entry.paper, *textwrap.wrap(f"{entry.config}: {entry.oracle}", width, **_INDENTED)])
        for entry in sorted((entry for entry, _ in rows), key=lambda entry: entry.paper.casefold())
    )


def folded(variants: Sequence[str], default: str, shown: int = 4) -> str:
    """The variants in one short text, tiny and the default first: "tiny, base, a … z (27 in all)"."""
    first = [one for one in ("tiny", default) if one in variants]
    ordered = list(dict.fromkeys([*first, *variants]))
    if len(ordered) <= shown:
        return ", ".join(ordered)
    return f"{', '.join(ordered[: shown - 1])} … {ordered[-1]} ({len(ordered)} in all)"


def _check(slot: str, kind: str) -> None:
    if slot not in SLOTS:
        raise XfmError(f"there is no slot {slot!r}{nearest(slot, SLOTS)}; there are {', '.join(SLOTS)}")
    if kind and lookup(SLOTS[slot], kind) is None:
        kinds = SLOTS[slot]
        raise XfmError(f"slot {slot!r} has no kind {kind!r}{nearest(kind, kinds)}; it has {', '.join(kinds)}")


def _kinds(spec: Any, slot: str, key: str = "") -> Iterable[str]:
    """The kinds of a slot in a spec, from top to bottom.

    key: the field that holds the spec. If several slots have a kind of that name, it belongs to the slot that the key
    names, or else to the first.
    """
    if isinstance(spec, Mapping):
        have = [name for name, table in SLOTS.items() if spec.get("kind") in table]
        if have and slot == (key if key in have else have[0]):
            yield spec["kind"]
        for name, value in spec.items():
            yield from _kinds(value, slot, "head" if key == "heads" else name)
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        for item in spec:
            yield from _kinds(item, slot, key)


_INDENTED = dict(initial_indent="    ", subsequent_indent="    ")
