"""Leaves of a tree by their path, `a/b/c`, and the regular expressions that pick them.

Everything that treats parameters differently says so as data: a list of (regex, value) pairs. A
regex may be found anywhere in the path (`re.search`; ^ and $ tie it to the ends) and the first that
is found wins.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from xfm.errors import XfmError

Rules = Sequence[tuple[str, Any]]


def path_name(path: tuple) -> str:
    """`a/b/c` for a key path of jax.tree_util."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """Path -> leaf, in the order of jax.tree.leaves."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_by_path(function: Callable, tree: Any, *rest: Any) -> Any:
    """jax.tree.map with the path as the first argument of `function`."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: function(path_name(path), *leaves), tree, *rest)


def first_match(path: str, rules: Rules, default: Any = None) -> Any:
    """The value of the first rule whose regex is found in the path."""
    return next((value for regex, value in rules if re.search(regex, path)), default)


def require_matches(field: str, patterns: Iterable[str], paths: Iterable[str]) -> None:
    """Raises XfmError for a pattern of config.`field` that matches no path, naming the nearest
    paths.
    """
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
