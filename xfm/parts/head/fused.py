"""The maps of all stages of a pyramid as vectors at the coarsest one, which a decoder reads.

Ryali et al. 2023 (Hiera), section 4. The oracle is transformers' HieraForPreTraining.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.conv import Conv
from xfm.parts.head.maps import maps_of
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


class Fused(nn.Module):
    """norm(last map + sum over the finer maps of W_i · [the positions within a position of the last map] + b_i).

    norm: spec of the norm, none if None.
    """

    norm: Spec | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B T D"]:
        *finer, last = maps_of(x, ctx, "head 'fused'")
        y = last
        for i, one in enumerate(finer):
            size = tuple(side // coarse for side, coarse in zip(one.shape[1:3], last.shape[1:3], strict=True))
            made = Conv(last.shape[-1], size, size, (0, 0), name=f"level_{i}")(one)
            if made.shape != last.shape:
                raise XfmError(f"head 'fused' cannot bring a map of {one.shape[1:3]} to one of {last.shape[1:3]}")
            y = y + made
        y = y.reshape(y.shape[0], -1, y.shape[-1])
        return y if self.norm is None else build(NORMS, self.norm, name="norm")(y)
