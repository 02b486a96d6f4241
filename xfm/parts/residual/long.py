"""A residual connection around several layers: what is added to is the stream as it was before them.

Zhang, Li, Li, Wang, Zhong, Fu, "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", 2018,
section 3.2: the long skip connection around the network, and those around its residual groups.
"""

from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.spec import SpecError


class Long(nn.Module):
    """start + y, whatever the stream x is by now.

    start: "period" for the stream before the first sublayer of the pattern, "embedded" for the one before all layers.
    """

    start: Literal["period", "embedded"] = "period"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], y: Float[Array, "B T D"], ctx: Context):
        if self.start not in ctx.shared:
            raise SpecError(
                f"residual 'long' with start={self.start!r} stands in the layers of a stack, and this does not"
            )
        return ctx.shared[self.start] + ctx.clean(y)
