"""Dropout of single units and of whole sublayers, as residual parts apply it to what they add."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.context import Context


def whole_row(drop_path: float) -> str | None:
    """Why a part with this rate cannot take rows that hold several texts, None where it can."""
    return "drops whole rows by drop_path, which 0 turns off" if drop_path else None


def thinned(
    module: nn.Module, y: Float[Array, "B T D"], ctx: Context, drop: float, drop_path: float
) -> Float[Array, "B T D"]:
    """y after dropout at rate `drop` and stochastic depth at rate `drop_path` · ctx.depth.

    Stochastic depth (Huang et al. 2016, section 3) drops a row's whole sublayer; its rate grows linearly with depth.
    Called by a residual part from within its own scope, whose "dropout" key it uses.
    """
    y = nn.Dropout(drop)(ctx.clean(y), deterministic=not ctx.train)
    if drop_path == 0.0 or not ctx.train:
        return y
    stay = 1.0 - drop_path * ctx.depth
    kept = jax.random.bernoulli(module.make_rng("dropout"), stay, (y.shape[0], 1, 1))
    return jnp.where(kept, y / stay, 0.0).astype(y.dtype)
