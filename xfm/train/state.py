"""Everything that a step changes, and so everything that a checkpoint holds."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, Key


@struct.dataclass
class State:
    """step: updates made (or skipped) so far.  params: float32.  extra: what the objective keeps
    beside parameters.

    ema: exponential moving average of params, or None.  rng: the run's key, which never changes;
    step i draws from fold_in(rng, i), so the step number alone says what a resumed run draws.
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
