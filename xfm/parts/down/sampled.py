"""A random share of a grid's tokens, which the layers of a stage read in training; `restored` makes the grid again.

Fang, Yang, Wang, Ge, Shan, Wang, "Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object
Detection" (MIMDet), 2022, section 3. The oracle is the authors' program.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from xfm.context import Context
from xfm.fields import Share
from xfm.parts.position import POSITIONS
from xfm.spec import Spec, SpecError, build, freeze

NO_POSITION = freeze(dict(kind="none"))
SAMPLED = "sampled"  # the name in ctx.shared of what `restored` reads


def sample(key: Array, real: Bool[Array, "B T"], count: int) -> Int[Array, "B count"]:
    """The numbers of `count` tokens of each row, in order, all of them equally likely; padding comes last."""
    noise = jnp.where(real, jax.random.uniform(key, real.shape), 2.0)
    return jnp.sort(jnp.argsort(noise, axis=1)[:, :count], axis=1)


def taken(x: Shaped[Array, "B T *any"], numbers: Int[Array, "B V"]) -> Shaped[Array, "B V *any"]:
    """The tokens of these numbers."""
    return jnp.take_along_axis(x, numbers.reshape(*numbers.shape, *[1] * (x.ndim - 2)), axis=1)


class Sampled(nn.Module):
    """position(down(x)), and in training a random ⌊ratio · S⌋ of its S tokens, which have no grid.

    Each token has the position that it has in the grid. Evaluation keeps all tokens, and so does a ratio of 1.
    down: spec of the part that makes the grid coarser, none if None.  position: spec of the position slot.
    Raises SpecError where no token is left.
    """

    ratio: Share = 0.5
    down: Spec | None = None
    position: Spec = NO_POSITION

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of the finer grid from one token to the next."""
        return (1, 1) if self.down is None else build("down", self.down, parent=None).step()

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> tuple[Float[Array, "B V E"], Context]:
        if self.down is not None:
            x, ctx = build("down", self.down, name="down")(x, ctx)
        whole, x = x, build(POSITIONS, self.position, name="position").add(x, ctx)
        if not ctx.train or self.ratio == 1.0:
            return x, ctx
        count = int(self.ratio * x.shape[1])
        if count == 0:
            raise SpecError(f"down 'sampled': a ratio of {self.ratio} leaves none of {x.shape[1]} tokens; set ratio")
        numbers = sample(self.make_rng("dropout"), ctx.real(x), count)
        named = {name: getattr(ctx, name) for name in ("segments", "positions", "types", "heard")}
        named = {name: None if a is None else taken(a, numbers) for name, a in named.items()}
        shared = {**ctx.shared, SAMPLED: dict(whole=whole, numbers=numbers, ctx=ctx)}
        return taken(x, numbers), ctx.replace(grid=None, shared=shared, **named)
