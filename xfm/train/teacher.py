"""The frozen teacher of an objective: config.objective.teacher = {"source": a checkpoint, or a run of xfm}."""

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


def resolved(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with an absolute path to the teacher, and with its network as config.objective.teacher.network."""
    source = source_of(config)
    if source is None:
        return config
    source = if_folder(source, Path.cwd())
    objective = plain(config["objective"])
    teacher = {**objective["teacher"], "source": source, "network": plain(find(source).spec)}
    return {**plain(config), "objective": {**objective, "teacher": teacher}}


def taught(state: State, config: Mapping[str, Any]) -> State:
    """The state with the weights of the teacher's source as extra["teacher"].

    Raises XfmError for weights that are not those of its network.
    """
    source = source_of(config)
    if source is None:
        return state
    weights = find(source).weights()

    def placed(path: str, leaf: jax.Array) -> jax.Array:
        if path not in weights or tuple(np.shape(weights[path])) != leaf.shape:
            raise XfmError(f"the teacher {source} has no parameter {path} of the shape {leaf.shape}")
        array = np.asarray(weights[path], leaf.dtype)
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: np.array(array[index]))

    assert flatten(state.extra["teacher"])
    return state.replace(extra={**state.extra, "teacher": map_by_path(placed, state.extra["teacher"])})
