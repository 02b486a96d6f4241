"""Which tiny configs learn in the default run: few that have each kind of part, structure, transform and objective."""

from collections.abc import Mapping
from typing import Any

from xfm.parts import SLOTS


def kinds(spec: Any, key: str = "") -> set[str]:
    """The `kind` of a spec, which stands at that key, and of all specs within it.

    A kind that several slots have, such as "attention" of mixers and of pools, is named with its slot.
    """
    if isinstance(spec, list | tuple):
        return set().union(*(kinds(one, key) for one in spec))
    if not isinstance(spec, Mapping):
        return set()
    kind = spec.get("kind")
    slots = [slot for slot, table in SLOTS.items() if kind in table]
    own = {f"{key} {kind}" if len(slots) > 1 and key in slots else kind} if isinstance(kind, str) else set()
    return own.union(*(kinds(one, name) for name, one in spec.items()))


def needs(config: Mapping[str, Any]) -> set[tuple[str, str]]:
    """What a config's network, its transforms and its objective are built of."""
    return {(room, kind) for room in ("model", "transforms", "objective") for kind in kinds(config.get(room))}


def covering(needed: Mapping[str, set]) -> set[str]:
    """Names whose sets together are all: the one that adds most first, by name where several add as much."""
    left, chosen = set().union(*needed.values()), set()
    while left:
        best = max(sorted(needed), key=lambda name: len(needed[name] & left))
        chosen.add(best)
        left -= needed[best]
    return chosen
