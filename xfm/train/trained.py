"""Which parameters a run trains, in words."""

import collections
from collections.abc import Collection
from typing import Any

from xfm.paths import flatten

SHOWN = 12  # modules in a line


def trained_line(params: Any, frozen: Collection[str]) -> str:
    """How many arrays and numbers train, and in which modules, each with its number of arrays."""
    sizes = {path: leaf.size for path, leaf in flatten(params).items()}
    moving = [path for path in sizes if path not in frozen]
    modules = collections.Counter(path.rpartition("/")[0] or path for path in moving)
    named = [f"{module} {count}" for module, count in modules.items()]
    more = f" (and {len(named) - SHOWN} more)" if len(named) > SHOWN else ""
    return (
        f"training: {len(moving)} of {len(sizes)} arrays, {sum(sizes[path] for path in moving):,} of "
        f"{sum(sizes.values()):,} numbers: {', '.join(named[:SHOWN])}{more}"
    )
