"""Vectors of length 1, without parameters, as in cosine attention. Liu et al. 2022 (Swin V2), equation 3."""

import flax.linen as nn
from jaxtyping import Array, Float

from xfm.fields import Positive
from xfm.parts.unit import unit


class Unit(nn.Module):
    """Division by the length of the vector."""

    eps: Positive = 1e-12

    def __call__(self, x: Float[Array, "*any D"]) -> Float[Array, "*any D"]:
        return unit(x, eps=self.eps).astype(x.dtype)
