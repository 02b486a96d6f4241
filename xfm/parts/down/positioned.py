"""A coarser grid with positions of its own, and with tokens before it. Wang et al. 2021 (PVT), section 3.2 and 3.4."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context, positions_within
from xfm.fields import CountOrZero
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build


class Positioned(nn.Module):
    """position([cls, down(x)]), the tokens of the coarser grid being the last.

    down: spec of the slot `down`.  position: spec of a position that is added.  cls: learned tokens put first, which
    have the largest segment of their row.
    """

    down: Spec
    position: Spec
    cls: CountOrZero = 0

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return build("down", self.down, parent=None).step()

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B cls+S width"], Context]:
        x, ctx = build("down", self.down, name="down")(x, ctx)
        if self.cls:
            tokens = param(self, "cls", nn.initializers.normal(0.02), (1, self.cls, x.shape[-1])).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(tokens, (len(x), *tokens.shape[1:])), x], axis=1)
        if self.cls and ctx.segments is not None:
            own = ctx.segments.max(1, keepdims=True)
            segments = jnp.concatenate([jnp.repeat(own, self.cls, 1), ctx.segments], axis=1)
            ctx = ctx.replace(segments=segments, positions=jnp.where(segments > 0, positions_within(segments), 0))
        return build(POSITIONS, self.position, name="position").add(x, ctx), ctx
