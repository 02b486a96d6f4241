"""A video as one token for each of its frames. Arnab et al. 2021 (ViViT), section 3.3, model 2."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero
from xfm.parts.down.grid import coarser
from xfm.parts.param import param
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

NO_POSITION = freeze(dict(kind="none"))


class Frames(nn.Module):
    """The mean over each frame's tokens that are real, in float32; the grid (t, h, w) becomes (t, 1).

    Of a grid of rows and columns each row is a frame. Leading tokens such as cls are left out.
    cls: learned tokens put first.  position: spec of the position slot, of cls tokens and frames together.
    """

    cls: CountOrZero = 0
    position: Spec = NO_POSITION

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B S D"], Context]:
        ctx.refuse_heard("down 'frames'")
        if ctx.grid is None:
            raise SpecError("down 'frames' needs a grid whose first axis is time; embed videos")
        (B, _, D), time = x.shape, ctx.grid[0]
        tokens = math.prod(ctx.grid)
        x = x[:, x.shape[1] - tokens :].reshape(B, time, -1, D)
        real = None
        if ctx.segments is not None:
            segments = ctx.segments[:, ctx.segments.shape[1] - tokens :].reshape(B, time, -1)
            x, real = jnp.where(segments[..., None] > 0, x, 0), segments.max(2)
        count = x.shape[2] if real is None else jnp.maximum((segments > 0).sum(2), 1)[..., None]
        y = (x.sum(2, dtype=jnp.float32) / count).astype(x.dtype)
        ctx = coarser(ctx, real, (time, 1))
        if self.cls:
            cls = param(self, "cls", nn.initializers.normal(0.02), (1, self.cls, D)).astype(y.dtype)
            y = jnp.concatenate([jnp.broadcast_to(cls, (B, self.cls, D)), y], axis=1)
            if real is not None:
                first = jnp.broadcast_to(real.max(1, keepdims=True), (B, self.cls))
                ctx = ctx.replace(segments=jnp.concatenate([first, real], axis=1), positions=None)
        return build(POSITIONS, self.position, name="position").add(y, ctx), ctx
