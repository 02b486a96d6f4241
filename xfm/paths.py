"""The leaves of a tree by their path, `a/b/c`, and regular expressions that select them.

Whatever treats parameters differently (decay, sharding, freezing) is described as data, a list of (regex, value) pairs.
A regex is searched in the path (`re.search`; ^ and $ anchor it), and the first that is found applies.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from xfm.errors import XfmError

Rules = Sequence[tuple[str, Any]]


def path_name(path: tuple) -> str:
    """The path `a/b/c` of a key path of jax.tree_util."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by path, in the order of jax.tree.leaves."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_by_path(function: Callable, tree: Any, *rest: Any) -> Any:
    """jax.tree.map, where `function` gets the path as its first argument."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(path_name(path), *leaves), tree, *rest)


def first_match(path: str, rules: Rules, default: Any = None) -> Any:
    """The value of the first rule whose regex is found in the path, or `default`."""
    return next((value for regex, value in rules if re.search(regex, path)), default)


def require_matches(field: str, patterns: Iterable[str], paths: Iterable[str]) -> None:
    """Checks the patterns of config.`field`. Raises XfmError, with the nearest paths, for one that is found in none."""
    paths = list(paths)
    for pattern in patterns:
        try:
            found = any(re.search(pattern, path) for path in paths)
        except re.error as error:
            raise XfmError(f"config.{field}: {pattern!r} is not a regular expression: {error}") from None
        if not found:
            plain = re.sub(r"[\\^$.*+?()\[\]{}|]", "", pattern)
            near = difflib.get_close_matches(plain, paths, n=3, cutoff=0.0)
            raise XfmError(
                f"config.{field}: {pattern!r} is found in no parameter path; "
                f"the nearest are {', '.join(near) or 'none'}"
            )
