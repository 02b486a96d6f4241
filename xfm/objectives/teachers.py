"""Teachers: frozen ones, and those that follow a network as moving averages of its parameters."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Count, Share

Momentum = tuple[Share, Share, Count]  # at the first and at the last update, and the number of updates between


def require_teacher(kind: str, teacher: Mapping[str, Any]) -> None:
    """Raises XfmError unless the spec of a frozen teacher has its network, which a run puts there from the source."""
    if "network" not in teacher:
        raise XfmError(
            f"{kind} needs a teacher: set config.objective.teacher.source to a checkpoint or a run, or "
            "teacher.network to the spec of one"
        )


def linear(first: float, last: float, over: int, step: Any) -> Float[Array, ""]:
    """From `first` at step 0 to `last` at step `over`, and `last` from there on."""
    return first + (last - first) * jnp.clip(jnp.asarray(step, jnp.float32) / over, 0, 1)


def momentum(schedule: Momentum, step: Any) -> Float[Array, ""]:
    """The momentum of the update after `step` others, on a straight line (Assran et al. 2023, appendix A.1)."""
    return linear(*schedule, step)


def cosine_momentum(schedule: Momentum, step: Any) -> Float[Array, ""]:
    """The momentum on half a cosine. Grill et al. 2020 (BYOL), section 3.3; Caron et al. 2021 (DINO), section 3.1."""
    first, last, over = schedule
    share = jnp.clip(jnp.asarray(step, jnp.float32) / over, 0, 1)
    return last - (last - first) * (jnp.cos(jnp.pi * share) + 1) / 2


def followed(teacher: Any, student: Any, m: Float[Array, ""]) -> Any:
    """m · teacher + (1 - m) · student, of each parameter; m = 1 keeps the teacher to the bit."""
    return jax.tree.map(lambda t, s: t + (1 - m) * (s - t), teacher, student)
