"""Everything that a step changes, and so everything that a checkpoint holds."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from xfm.paths import Rules, flatten, map_by_path
from xfm.sharding import params_sharding


@struct.dataclass
class State:
    """The state of a run after a step.

    step: updates made (or skipped) so far.  params: float32.  extra: what the objective keeps beside parameters.
    ema: exponential moving average of params, or None.  rng: the run's key, which never changes; step i draws from
    fold_in(rng, i), so the step alone determines what a resumed run draws.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    extra: Any
    ema: Any
    rng: Key[Array, ""]


def new_state(objective, optimiser, rng: Key[Array, ""], batch: Any, ema: float | None) -> State:
    """The state before the first step; traceable, so that jit can make it in its sharding."""
    init_rng, run_rng = jax.random.split(rng)
    params, extra = objective.init(init_rng, batch)
    average = None if ema is None else jax.tree.map(jnp.array, params)
    return State(jnp.int32(0), params, optimiser.init(params), extra, average, run_rng)


def state_sharding(state: State, mesh: Mesh, rules: Rules) -> tuple[State, list[str]]:
    """A State of shardings for a State of arrays or shapes, and the sentences about dropped axes.

    Outside `params`, an array whose path ends in a parameter's path and which has its shape is sharded as that
    parameter is; all others are replicated.
    """
    params, notes = params_sharding(state.params, mesh, rules)
    shapes = {path: leaf.shape for path, leaf in flatten(state.params).items()}
    placed = flatten(params)
    whole = NamedSharding(mesh, PartitionSpec())

    def follow(path, leaf):
        steps = path.split("/")
        tails = ("/".join(steps[i:]) for i in range(len(steps)))
        owner = next((tail for tail in tails if shapes.get(tail) == leaf.shape), None)
        return placed[owner] if owner else whole

    rest = {name: map_by_path(follow, getattr(state, name)) for name in ("opt_state", "extra", "ema")}
    return State(step=whole, params=params, rng=whole, **rest), notes


def shard_state(state: State, mesh: Mesh, rules: Rules) -> State:
    """The state with every array where the rules put it."""
    return jax.device_put(state, state_sharding(state, mesh, rules)[0])
