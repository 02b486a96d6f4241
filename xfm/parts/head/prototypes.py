"""Similarities of a projected vector to learned prototypes. Caron et al. 2021 (DINO), section 3.1 and appendix C."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.head.at import chosen
from xfm.parts.linear import Linear
from xfm.parts.param import param
from xfm.parts.pool import POOLS
from xfm.parts.unit import unit
from xfm.spec import Spec, build, freeze

CLS = freeze(dict(kind="cls"))


class Prototypes(nn.Module):
    """The cosines [B K] of an MLP's output with each of K prototypes, in float32.

    prototypes: K.  hidden, bottleneck: widths of the MLP, of `layers` linear maps, the last one to the bottleneck.
    pool: spec of the pool slot, the first token by default; None for one vector per token [B T K], or [B k K] at the
    positions ctx.at. The prototypes' lengths play no part, as with DINO's weight normalisation whose scale is fixed.
    """

    prototypes: Count = 65_536
    hidden: Count = 2048
    bottleneck: Count = 256
    layers: Count = 3
    activation: str = "gelu"
    pool: Spec | None = CLS

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B *k K"]:
        y = chosen(x, ctx) if self.pool is None else build(POOLS, self.pool, name="pool")(x, ctx)
        for i in range(self.layers - 1):
            y = activation(self.activation)(Linear(self.hidden, name=f"hidden_{i}")(y))
        y = Linear(self.bottleneck, name="bottleneck")(y)
        kernel = param(self, "directions", nn.initializers.normal(0.02), (self.bottleneck, self.prototypes))
        return unit(y) @ unit(kernel, axis=0)
