"""What an objective has from a checkpoint and never trains: its teacher, and the tokeniser of its targets.

config.objective.teacher = {"source": a checkpoint, or a run of xfm}; config.objective.target = {"kind": "image_tokens",
"source": …}.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from xfm.errors import XfmError
from xfm.locations import folder as if_folder
from xfm.paths import flatten, map_by_path
from xfm.spec import plain
from xfm.train.found import find
from xfm.train.state import State


def source_of(config: Mapping[str, Any]) -> str | None:
    """What the teacher is read from; None where the objective has none, or one of random weights."""
    teacher = (config.get("objective") or {}).get("teacher")
    return teacher.get("source") if isinstance(teacher, Mapping) else None


def tokeniser_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The spec of the target if it has a tokeniser that is read from a checkpoint."""
    target = (config.get("objective") or {}).get("target")
    here = isinstance(target, Mapping) and target.get("kind") == "image_tokens" and target.get("source") is not None
    return target if here else None


def resolved(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with an absolute path to the teacher, and with its network as config.objective.teacher.network.

    The path to the target's tokeniser is absolute too.
    """
    source, target = source_of(config), tokeniser_of(config)
    if target is not None:
        target = {**plain(target), "source": if_folder(target["source"], Path.cwd())}
        config = {**plain(config), "objective": {**plain(config["objective"]), "target": target}}
    if source is None:
        return config
    source = if_folder(source, Path.cwd())
    objective = plain(config["objective"])
    teacher = {**objective["teacher"], "source": source, "network": plain(find(source).spec)}
    return {**plain(config), "objective": {**objective, "teacher": teacher}}


def taught(state: State, config: Mapping[str, Any]) -> State:
    """The state with the weights of the teacher's source as extra["teacher"], and with those of the tokeniser.

    Raises XfmError for weights that are not those of its network.
    """
    source, target, extra = source_of(config), tokeniser_of(config), state.extra
    if source is not None:
        extra = {**extra, "teacher": filled(extra["teacher"], find(source).weights(), f"the teacher {source}")}
    if target is not None:
        from xfm.hub.image_tokens import weights

        there = weights(target["source"], target.get("revision"))
        own = filled(extra["target"]["tokeniser"], there, f"the tokeniser {target['source']}")
        extra = {**extra, "target": {**extra["target"], "tokeniser": own}}
    return state.replace(extra=extra)


def filled(tree: Any, weights: Mapping[str, Any], what: str) -> Any:
    """The tree with these weights, sharded as its arrays are.  what: their source, for errors.

    Raises XfmError for weights that are not there or have another shape.
    """

    def placed(path: str, leaf: jax.Array) -> jax.Array:
        if path not in weights or tuple(np.shape(weights[path])) != leaf.shape:
            raise XfmError(f"{what} has no parameter {path} of the shape {leaf.shape}")
        array = np.asarray(weights[path], leaf.dtype)
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: np.array(array[index]))

    assert flatten(tree)
    return map_by_path(placed, tree)
