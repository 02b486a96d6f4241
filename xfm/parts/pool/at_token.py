"""The vector at a certain token, such as the end of a text in CLIP's text tower. Radford et al. 2021, section 2.4."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xfm.context import Context
from xfm.fields import CountOrZero
from xfm.spec import SpecError


def position_of(tokens: Int[Array, "B T"], real: Bool[Array, "B T"], token: int | None) -> Int[Array, "B"]:
    """The first real position of the id `token`, of the highest id if None; 0 in a row without it."""
    wanted = jnp.max(jnp.where(real, tokens, -1), axis=1, keepdims=True) if token is None else token
    return jnp.argmax(real & (tokens == wanted), axis=1)


class AtToken(nn.Module):
    """x[b, first real position of the id `token`]; of the row's highest id if None, as in CLIP's first files."""

    token: CountOrZero | None = None

    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B D"]:
        if ctx.tokens is None:
            raise SpecError("pool 'at_token' needs the ids of the tokens, and this batch has none")
        index = position_of(ctx.tokens, ctx.real(x), self.token)
        return jnp.take_along_axis(ctx.clean(x), index[:, None, None], axis=1)[:, 0]
