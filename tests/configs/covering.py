"""Which tiny configs learn in the default run: few that have each kind of part, structure, transform and objective."""

from collections.abc import Mapping
from typing import Any


def kinds(spec: Any) -> set[str]:
    """The `kind` of a spec and of all specs within it."""
    inner = spec.values() if isinstance(spec, Mapping) else spec if isinstance(spec, list | tuple) else ()
    own = {spec["kind"]} if isinstance(spec, Mapping) and isinstance(spec.get("kind"), str) else set()
    return own.union(*map(kinds, inner))


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
