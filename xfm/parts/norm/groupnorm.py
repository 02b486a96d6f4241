"""Group normalisation of a whole row: zero mean, unit variance over tokens and channels of each group.

Wu, He 2018, section 3.1; with one group it is PoolFormer's norm (Yu et al. 2022, section 4.1).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Count, Positive
from xfm.parts.param import param
from xfm.spec import SpecError


def groupnorm(x: Float[Array, "B *any D"], groups: int, eps: float) -> Float[Array, "B *any D"]:
    """(x - mean) / sqrt(variance + eps) over all axes of a row but the groups', in float32."""
    cut = x.reshape(*x.shape[:-1], groups, -1).astype(jnp.float32)
    axes = (*range(1, cut.ndim - 2), cut.ndim - 1)
    cut = cut - cut.mean(axis=axes, keepdims=True)
    return (cut * jax.lax.rsqrt(jnp.square(cut).mean(axis=axes, keepdims=True) + eps)).reshape(x.shape)


class GroupNorm(nn.Module):
    """Group normalisation over all tokens of a row, with a scale and a bias per channel.

    It knows no padding: a row holds one image and nothing else.  groups: of channels that do not share statistics.
    """

    groups: Count = 1
    eps: Positive = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "B *any D"]) -> Float[Array, "B *any D"]:
        D = x.shape[-1]
        if D % self.groups:
            raise SpecError(f"groupnorm: a width of {D} does not divide into {self.groups} groups; set groups")
        y = groupnorm(x, self.groups, self.eps) * param(self, "scale", nn.initializers.ones, (D,))
        return (y + param(self, "bias", nn.initializers.zeros, (D,))).astype(x.dtype)
