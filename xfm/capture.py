"""Captures the outputs of the modules inside a network, and the values that they sow, by the modules' paths."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array

from xfm.errors import XfmError, nearest


def capture(
    model: nn.Module, variables: Mapping[str, Any], batch: Mapping[str, Array], pattern: str = ".*"
) -> dict[str, Array]:
    """The output of each module whose path, such as `layers/attention_0/part`, matches a regex: path -> output.

    model, variables, batch: as in `model.apply(variables, batch)`; dropout is off.
    pattern: must match the whole path.

    The entries are in the order in which the modules run. Values that a module sows into "intermediates" come before
    its output, under the module's path and the sown name. The outputs of a module in the repeated layers of a stack are
    stacked along a first axis of depth, and if these layers run in several loops, the loops are a second axis. A module
    that is called several times has entries `path/0`, `path/1`, …. If a module also returns a state or a context, only
    its output is kept. The function is pure, so it may be used inside `jax.jit` and `jax.grad`.

    Raises XfmError if the pattern is not a regular expression, or matches no module.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise XfmError(f"capture: {pattern!r} is not a regular expression: {error}") from None
    ran: dict[str, None] = {}  # the paths of all modules, in the order in which they return

    def keep(module: nn.Module, method: str) -> bool:
        path = "/".join(module.scope.path)  # not module.path, which a part may define as a field
        if method != "__call__" or not path:  # `apply` already returns the network's own output
            return False
        ran[path] = None
        return wanted.fullmatch(path) is not None

    _, seen = model.apply(variables, batch, capture_intermediates=keep, mutable=["intermediates"])
    calls, found = _calls(seen.get("intermediates", {})), {}
    sown = [path for path in calls if path not in ran]
    order = [one for path in ran for one in (*(name for name in sown if name.rpartition("/")[0] == path), path)]
    order += [path for path in sown if path not in order]  # values that the network itself sows
    for path in (path for path in order if path in calls and wanted.fullmatch(path)):
        outputs = [jax.tree.leaves(output)[0] for output in calls[path]]
        many = {f"{path}/{i}": output for i, output in enumerate(outputs)}
        found |= {path: outputs[0]} if len(outputs) == 1 else many
    if not found:
        close = nearest(re.sub(r"[\\^$.*+?()\[\]{}|]", "", pattern), order)
        raise XfmError(f"capture: no module has the path {pattern!r}{close}; it has {_some(order)}")
    return found


def _calls(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, tuple]:
    """From a tree of intermediates: path -> the values that the calls of a module returned, or that were sown there."""
    found = {}
    for name, inner in tree.items():
        if name == "__call__":
            found["/".join(path)] = inner
        elif isinstance(inner, Mapping):
            found |= _calls(inner, (*path, name))
        else:
            found["/".join((*path, name))] = inner
    return found


def _some(paths: Sequence[str], shown: int = 8) -> str:
    names = ", ".join(paths[:shown])
    return names if len(paths) <= shown else f"{names}, … ({len(paths)} in all)"
