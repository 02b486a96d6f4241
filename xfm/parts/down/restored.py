"""The grid of which a stage read a random share: its output for those tokens, and for all others what it was given.

Fang, Yang, Wang, Ge, Shan, Wang, "Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object
Detection" (MIMDet), 2022, section 3: the dropped tokens enter the decoder as linear maps of the stem's tokens, where
MAE's enters a mask token. The oracle is the authors' program.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.down.sampled import NO_POSITION, SAMPLED
from xfm.parts.linear import Linear
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, build


def replaced(
    whole: Float[Array, "B T D"], x: Float[Array, "B V D"], numbers: Int[Array, "B V"]
) -> Float[Array, "B T D"]:
    """All tokens, those of these numbers being x."""
    return whole.at[jnp.arange(len(whole))[:, None], numbers].set(x)


class Restored(nn.Module):
    """position(in · x + b) with `dropped` · z + c in place of each token z that down 'sampled' left out.

    z is without its position. Where no token was left out, `dropped` is not used.
    width: of both maps.  position: spec of the position slot, of all tokens of the grid.
    """

    width: Count
    position: Spec = NO_POSITION

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """The grid is as fine as the one that was sampled."""
        return 1, 1

    @nn.compact
    def __call__(self, x: Float[Array, "B V D"], ctx: Context) -> tuple[Float[Array, "B T width"], Context]:
        sampled, dropped = ctx.shared.get(SAMPLED), Linear(self.width, name="dropped")
        given, x = x, Linear(self.width, name="in")(ctx.clean(x))
        if sampled is not None:
            ctx = sampled["ctx"]
            x = replaced(dropped(ctx.clean(sampled["whole"])), x, sampled["numbers"])
        elif self.is_initializing():
            dropped(given)
        return build(POSITIONS, self.position, name="position").add(x, ctx), ctx
