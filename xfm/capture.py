"""What happens inside a network: each module's output and what it sows, by the path that its parameters have."""

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
    """path -> output of each module whose whole path, `layers/attention_0/part`, matches the regex
    `pattern`; in the order in which they run. What a module sows into "intermediates" is there too, before the
    module's output, by the module's path and the sown name.

    model, variables, batch: as in `model.apply(variables, batch)`; dropout is off. A module in the
    repeated layers of a stack gives all repeats at once, along a leading axis of depth. Of a module
    that returns a state or a context as well, only its output is kept; one that runs several times
    is listed as `path/0`, `path/1`, …; the loops of a repeat lie along a second axis. Pure, so it may
    stand inside `jax.jit` and `jax.grad`.

    Raises XfmError for a pattern that is no regular expression or that matches no module.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise XfmError(f"capture: {pattern!r} is not a regular expression: {error}") from None
    ran: dict[str, None] = {}  # the paths of all modules, in the order in which they end

    def keep(module: nn.Module, method: str) -> bool:
        path = "/".join(module.scope.path)  # module.path may be a field of the part's own
        if method != "__call__" or not path:  # the network's own output is what `apply` returns
            return False
        ran[path] = None
        return wanted.fullmatch(path) is not None

    _, seen = model.apply(variables, batch, capture_intermediates=keep, mutable=["intermediates"])
    calls, found = _calls(seen.get("intermediates", {})), {}
    sown = [path for path in calls if path not in ran]
    order = [one for path in ran for one in (*(name for name in sown if name.rpartition("/")[0] == path), path)]
    order += [path for path in sown if path not in order]  # the network's own
    for path in (path for path in order if path in calls and wanted.fullmatch(path)):
        outputs = [jax.tree.leaves(output)[0] for output in calls[path]]
        many = {f"{path}/{i}": output for i, output in enumerate(outputs)}
        found |= {path: outputs[0]} if len(outputs) == 1 else many
    if not found:
        close = nearest(re.sub(r"[\\^$.*+?()\[\]{}|]", "", pattern), order)
        raise XfmError(f"capture: no module has the path {pattern!r}{close}; it has {_some(order)}")
    return found


def _calls(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, tuple]:
    """path -> what each call returned, or what was sown under that name, of a tree of intermediates."""
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
