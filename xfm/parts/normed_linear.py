"""A linear map with a norm after it, and attention to values of another width than keys: Graham et al. 2021 (LeViT)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.kernels.attention import attention
from xfm.parts.linear import Linear
from xfm.parts.norm import NORMS
from xfm.spec import Spec, build


def normed_linear(
    x: Float[Array, "*any_in"], features: int, norm: Spec | None, name: str, axes: int = 1
) -> Float[Array, "*any_out"]:
    """norm(x W), by a map of this name and a norm `name`_norm of the calling module; without a norm x W + b.

    axes: of x, from the last, that are contracted.
    """
    y = Linear(features, bias=norm is None, axes=axes, name=name)(x)
    return y if norm is None else build(NORMS, norm, name=f"{name}_norm")(y)


def wide_attention(
    q: Float[Array, "B T N H"], k: Float[Array, "B S N H"], v: Float[Array, "B S N U"], **how
) -> Float[Array, "B T N U"]:
    """Attention whose values may be wider or narrower than its keys; how: further arguments of `attention`.

    The kernel has one width for all, so zeros are added to the narrower arrays, which change no score.
    """
    H, U = q.shape[-1], v.shape[-1]
    q, k, v = (jnp.pad(a, [(0, 0)] * 3 + [(0, max(H, U) - a.shape[-1])]) for a in (q, k, v))
    return attention(q, k, v, scale=H**-0.5, **how)[..., :U]
