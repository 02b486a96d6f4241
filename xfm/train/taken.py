"""Which parameters a network takes from the checkpoint that it starts from, which are drawn, and which are not used."""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xfm.batch import part_of, prefixes, with_prefix
from xfm.errors import XfmError
from xfm.objectives import Objective
from xfm.paths import flatten, map_by_path, require_matches
from xfm.structures import build
from xfm.train.found import Found
from xfm.train.numbered import by_number
from xfm.train.start import heads_along, of, require_way_out
from xfm.train.state import State
from xfm.transforms.transformed import OWN

SHOWN = 4  # paths, or differences, in a message


@dataclasses.dataclass(frozen=True)
class Taken:
    """Paths of parameters.  taken: from the checkpoint.  fresh: drawn.  left: in the checkpoint, but not used."""

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    left: tuple[str, ...]


def laid(found: Found, objective: Objective, params: Any, config: Mapping[str, Any]) -> Found:
    """The checkpoint with its parameters by the paths of the network, as config.start.layers and .renames say.

    objective: the run's, whose network this is.  params: those of the network, or their shapes.
    Raises XfmError; see `by_number`.
    """
    start = of(config)
    if start.layers == "path" and not start.renames:
        return found
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(params).items()}
    there, here = (), ()
    if start.layers == "number":
        there, here = build(found.spec).sublayers(), objective.networks["model"].sublayers()
    return by_number(found, there, here, shapes, start.renames)


def taken(params: Any, found: Found, config: Mapping[str, Any]) -> Taken:
    """What becomes of each parameter of the network and of the checkpoint.

    params: those of the network, or their shapes.  config: a resolved one.
    Raises XfmError if parameters are absent from the checkpoint, or have another shape there, and config.start.fresh
    does not allow that; for a regex of config.start.fresh that no parameter matches; and if the network could not be
    written for the Hub afterwards and config.start.export asks for that.
    """
    start, shapes = of(config), {path: tuple(leaf.shape) for path, leaf in flatten(params).items()}
    own = tuple(path for path in shapes if path.startswith(f"{OWN}/"))  # a checkpoint need not have these
    require_way_out(config)
    require_matches("start.fresh", start.fresh, shapes)
    heads, everything = tuple(f"head_{name}/" for name in heads_along(found, start)), found.shapes()
    there = {path: shape for path, shape in everything.items() if path[:5] != "head_" or path.startswith(heads)}
    differ = [path for path, shape in shapes.items() if there.get(path) != shape]
    firm = f"head_{found.asked}/"
    allowed = [path for path in differ if path in own or any(re.search(regex, path) for regex in start.fresh)]
    wrong = [path for path in differ if path not in allowed or path.startswith(firm)]
    if wrong:
        lines = [f"{path} is {there.get(path, 'absent')} there and {shapes[path]} here" for path in wrong]
        raise XfmError(
            f"{found.source} does not fit the network of this config: {some(lines)}; to draw parameters anew, add "
            f"regexes of their paths to config.start.fresh, such as {beginning(wrong[0])!r}"
        )
    used = [path for path in shapes if path not in set(differ)]
    return Taken(tuple(used), tuple(differ), tuple(path for path in everything if path not in set(used)))


def lines(one: Taken, found: Found, model: Mapping[str, Any]) -> list[str]:
    """The lines of a run's header: what is taken, drawn and left, and how the config differs from the checkpoint."""
    from xfm.hub.keys import complete
    from xfm.hub.matching import differences

    said = [f"start: {len(one.taken)} parameters of {found.source} are taken ({grouped(one.taken)})"]
    said += [f"start: {len(one.fresh)} are drawn anew ({grouped(one.fresh)})"] if one.fresh else []
    said += [f"start: {len(one.left)} are not used ({grouped(one.left)})"] if one.left else []
    there, here = ({k: v for k, v in complete(spec).items() if k != "heads"} for spec in (found.spec, model))
    changed = [f"{key} is {now!r}, there {was!r}" for key, was, now in differences(there, here)]
    return said + ([f"start: the config differs from the checkpoint: {some(changed)}"] if changed else [])


def grouped(paths: Iterable[str]) -> str:
    """How many paths begin with each name: `embed 4, layers 16`."""
    counts = collections.Counter(path.partition("/")[0] for path in paths)
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def some(words: Sequence[str]) -> str:
    """The first SHOWN of the words, and the number of the others."""
    more = f" (and {len(words) - SHOWN} more)" if len(words) > SHOWN else ""
    return f"{', '.join(words[:SHOWN])}{more}"


def beginning(path: str) -> str:
    """A regex of a parameter and those beside it: the head or the module that it belongs to."""
    first = path.partition("/")[0]
    return f"^{first}/" if first.startswith("head_") else f"^{path.rpartition('/')[0]}/"


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source's rows as the checkpoint's network takes them (RoBERTa's positions start at 2); else the source."""

    source: Any
    inputs: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.inputs(self.source[index])

    def plain(self) -> "Rows":
        """The same rows as the network takes them, read like those of validation."""
        return Rows(getattr(self.source, "plain", lambda: self.source)(), self.inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "source"), name)


def adapted(data: Any, found: Found, model: Mapping[str, Any]) -> Any:
    """The data with both sources as the checkpoint's network takes them.  model: spec of the network."""
    if found.inputs is None:
        return data

    ids = build(model).ids()

    def inputs(row):
        of = {prefix: found.inputs(part_of(row, prefix), ids) for prefix in prefixes(row)}
        return {name: x for prefix, part in of.items() for name, x in with_prefix(prefix, part).items()}

    sources = {name: source for name in ("train", "valid", "seen") if (source := getattr(data, name, None)) is not None}
    return dataclasses.replace(data, **{name: Rows(source, inputs) for name, source in sources.items()})


def started(draw: Callable[[], State], like: State, found: Found, one: Taken, objective: Objective) -> State:
    """The state of step 0 with the checkpoint's parameters where they are taken; only the others are drawn.

    draw: makes a state with all parameters drawn; traceable.  like: its shapes and shardings.  objective: the run's.
    """
    weights, used = found.weights(), set(one.taken)

    def placed(path, leaf):
        array = np.asarray(weights[path], leaf.dtype)
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: np.array(array[index]))

    def begun(there):
        state = draw()
        params = map_by_path(lambda path, x: there.get(path, x), state.params)
        average = None if state.ema is None else jax.tree.map(jnp.array, params)
        return state.replace(params=params, extra=objective.begun(params, state.extra), ema=average)

    there = {path: placed(path, leaf) for path, leaf in flatten(like.params).items() if path in used}
    return jax.jit(begun, out_shardings=jax.tree.map(lambda x: x.sharding, like), donate_argnums=0)(there)
