"""The hierarchical MLP stem: tiles are joined to larger ones by linear maps that no two patches share pixels in.

Touvron, Cord, El-Nouby, Verbeek, Jégou, "Three things everyone should know about Vision Transformers", 2022, section 5.
A patch that is masked before it changes no other token, as long as the norm reads one token at a time.
"""

import math

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.context import Context
from xfm.errors import XfmError
from xfm.fields import Count
from xfm.parts.activation import activation
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.parts.split import soft_split
from xfm.spec import Spec, build, freeze

LAYERNORM = freeze(dict(kind="layernorm"))


class HMLP(nn.Module):
    """norm(W tile) for tiles of tiles, with an activation between two steps and none after the last.

    sides: of the tiles of each step, in pixels and then in tokens; their product is the side of a patch.
    inner: width of all steps but the last, D / 4 if None.  norm: after each map (the paper's is batch normalisation).
    """

    width: Count
    sides: tuple[Count, ...] = (4, 2, 2)
    inner: Count | None = None
    activation: str = "gelu"
    norm: Spec = LAYERNORM

    @nn.nowrap
    def step(self) -> tuple[int, int]:
        """Rows and columns of pixels from one token to the next."""
        return (math.prod(self.sides),) * 2

    @nn.compact
    def __call__(self, images: Float[Array, "B height width C"], ctx: Context) -> Float[Array, "B h w D"]:
        P, last = math.prod(self.sides), len(self.sides) - 1
        if images.shape[1] % P or images.shape[2] % P:
            raise XfmError(
                f"an image of {images.shape[1]} x {images.shape[2]} does not divide into patches of {P} x {P}"
            )
        x = images
        for i, side in enumerate(self.sides):
            width = self.width if i == last else self.inner or self.width // 4
            x = Linear(width, name=f"map_{i}")(soft_split(x, side, side, 0))
            x = build(NORMS, self.norm, name=f"norm_{i}")(x)
            x = x if i == last else activation(self.activation)(x)
        return x
