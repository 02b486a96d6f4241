"""A weighted residual connection: skip · x + gate · y.

DeepNorm (Wang et al. 2022, section 3: skip = α), ReZero (Bachlechner et al. 2020, equation 1: a learned scalar gate
from 0) and LayerScale (Touvron et al. 2021, equation 4: a learned gate per channel from a small value) are settings.
"""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import Number, Rate
from xfm.parts.param import param
from xfm.parts.residual.thinning import thinned, whole_row


class Scaled(nn.Module):
    """skip · x + gate · y.

    gate: the fixed gate, or where it is learned its first value.  learn: "none", "scalar" or "channel".
    """

    skip: Number = 1.0
    gate: Number = 1.0
    learn: Literal["none", "scalar", "channel"] = "none"
    drop: Rate = 0.0
    drop_path: Rate = 0.0

    @property
    def whole_row(self) -> str | None:
        """See `xfm.structures.tokens`."""
        return whole_row(self.drop_path)

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], y: Float[Array, "B T D"], ctx: Context):
        gate = self.gate
        if self.learn != "none":
            shape = {"scalar": (), "channel": x.shape[-1:]}[self.learn]
            gate = param(self, "scale", nn.initializers.constant(self.gate), shape).astype(x.dtype)
        return self.skip * x + gate * thinned(self, y, ctx, self.drop, self.drop_path)
