"""Numbers for a tile of finer positions within each token.

Wang, Tang, Wang, Guo, Deng, Han, "Masked Image Modeling with Local Multi-Scale Reconstruction" (LocalMIM, 2023);
norm and activation between two doublings follow the authors' program.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.fields import CountOrZero
from xfm.parts.head.at import chosen
from xfm.parts.head.doubling import doubled_often
from xfm.parts.linear import Linear
from xfm.spec import Spec, freeze

LAYERNORM = freeze(dict(kind="layernorm", eps=1e-6))


class Tiles(nn.Module):
    """[B T R*R*width], or at the positions ctx.at, from a tile of R x R positions of each token, in row-major order.

    width: of each position.  doublings: log2 R; each halves the width of the token's vector.  norm, activation: between
    two doublings.
    """

    width: CountOrZero
    doublings: CountOrZero = 1
    norm: Spec = LAYERNORM
    activation: str = "gelu"

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], ctx: Context) -> Float[Array, "B K R*R*width"]:
        x = chosen(x, ctx)
        tiles = doubled_often(x.reshape(-1, 1, 1, x.shape[-1]), self.doublings, self.norm, self.activation)
        return Linear(self.width, name="out")(tiles).reshape(*x.shape[:2], -1)
