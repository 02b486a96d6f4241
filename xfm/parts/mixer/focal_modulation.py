"""Focal modulation: each token is multiplied by a gated sum of ever wider surroundings, without attention.

Yang, Li, Dai, Yuan, Gao, "Focal Modulation Networks", 2022, section 3. The oracle is transformers' FocalNetModulation.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xfm.context import Context
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.conv import Depthwise
from xfm.parts.linear import Linear
from xfm.parts.mixer.both_ways import both_ways
from xfm.parts.norm import NORMS
from xfm.spec import Spec, SpecError, build


def mean_of_text(x: Float[Array, "B T D"], segments: Int[Array, "B T"] | None) -> Float[Array, "B T D"]:
    """At each token the mean over its segment, in float32; of the whole row if there are no segments."""
    if segments is None:
        return jnp.broadcast_to(x.mean(1, keepdims=True, dtype=jnp.float32), x.shape).astype(x.dtype)
    own = segments[:, :, None] == segments[:, None, :]
    own = own & (segments > 0)[:, None, :]
    total = jnp.einsum("bts,bsd->btd", own.astype(jnp.float32), x.astype(jnp.float32), precision="highest")
    return (total / jnp.maximum(own.sum(2), 1)[..., None]).astype(x.dtype)


class FocalModulation(nn.Module):
    """out(norm(q ⊙ context(Σ_l gate_l ⊙ z_l))), where in(x) is q, z_0 and gates, and z_l = activation(conv_l(z_l-1)).

    levels: L convolutions, each over z of the one before; the last summand is the activated mean of z_L over all
    tokens. window: rows and columns of the first convolution, odd; each further one has two more.
    total: whether the summands are added, or their mean taken ("mean" in the paper's largest networks).
    norm: spec of the norm of the modulated tokens, none if None. A row without a grid is a grid of one row.
    """

    whole_row: ClassVar[str | None] = None
    mixes_all: ClassVar[bool] = True

    levels: Count
    window: Count = 3
    total: Literal["sum", "mean"] = "sum"
    norm: Spec | None = None
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context, state: None = None):
        both_ways("focal_modulation", ctx, state)
        if self.window % 2 == 0:
            raise SpecError(f"mixer 'focal_modulation' has odd windows, not one of {self.window}")
        D, act = x.shape[-1], activation(self.activation)
        q, z, gates = jnp.split(Linear(2 * D + self.levels + 1, name="in")(ctx.clean(x)), [D, 2 * D], axis=-1)
        total = 0.0
        for i in range(self.levels):
            side = self.window + 2 * i
            z = act(
                Depthwise((side, side), "mixer 'focal_modulation'", bias=False, name=f"conv_{i}")(ctx.clean(z), ctx)
            )
            total = total + z * gates[..., i : i + 1]
        total = total + act(mean_of_text(ctx.clean(z), ctx.segments)) * gates[..., self.levels :]
        if self.total == "mean":
            total = total / (self.levels + 1)
        y = q * Linear(D, name="context")(total)
        y = y if self.norm is None else build(NORMS, self.norm, name="norm")(y)
        return Linear(D, name="out")(y), None
