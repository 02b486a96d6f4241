"""Maps doubled in size by transposed convolutions: those of simple pyramids, and the fine predictions of one token."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.parts.activation import activation
from xfm.parts.norm import NORMS
from xfm.parts.param import param
from xfm.spec import Spec, build


def doubled(
    x: Float[Array, "B h w D"], kernel: Float[Array, "D 2 2 E"], bias: Float[Array, "E"]
) -> Float[Array, "B 2*h 2*w E"]:
    """Each position becomes a tile of 2 x 2: the transposed convolution of size and stride 2."""
    B, h, w, _ = x.shape
    y = jnp.einsum("bhwd,dpqe->bhpwqe", x, kernel)
    return y.reshape(B, 2 * h, 2 * w, -1) + bias


class Double(nn.Module):
    """Owns the kernel and the bias of `doubled`.  width: E."""

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B h w D"]) -> Float[Array, "B H W width"]:
        init = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3))
        kernel = param(self, "kernel", init, (x.shape[-1], 2, 2, self.width))
        bias = param(self, "bias", nn.initializers.zeros, (self.width,))
        return doubled(x, kernel.astype(x.dtype), bias.astype(x.dtype))


def doubled_often(
    x: Float[Array, "B h w D"], times: int, norm: Spec, kind: str, level: str = ""
) -> Float[Array, "B H W E"]:
    """The map after so many doublings, each of which halves the width, with a norm and an activation between two.

    It makes the submodules double_LEVEL0, norm_LEVEL1, double_LEVEL1, … of the calling module.  kind: of the
    activation.
    """
    for i in range(times):
        if i:
            x = activation(kind)(build(NORMS, norm, name=f"norm_{level}{i}")(x))
        x = Double(max(x.shape[-1] // 2, 1), name=f"double_{level}{i}")(x)
    return x
