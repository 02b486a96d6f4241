"""Fixed sines and cosines of each distance, which every layer projects for itself.

Dai, Yang, Yang, Carbonell, Le, Salakhutdinov, "Transformer-XL: Attentive Language Models beyond a Fixed-Length
Context", 2019, section 3.3.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.position.base import Position
from xfm.parts.position.sinusoidal import sinusoids


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sines:
    """What layers find in ctx.relative as "relative".  reach: larger distances count as it; no limit if None."""

    reach: int | None

    def of(self, distance: Int[Array, " n"], width: int) -> Float[Array, "n width"]:
        """The vectors of distances t - s."""
        return sinusoids(distance if self.reach is None else jnp.clip(distance, -self.reach, self.reach), width)


class RelativeSines(Position):
    """Shares `Sines` as "relative", which the mixer of kind "relative" reads.  reach: as in `Sines`."""

    reach: Count | None = None

    def share(self, ctx: Context) -> dict[str, Any]:
        return {"relative": Sines(self.reach)}
