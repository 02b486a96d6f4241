"""The affine map of a token's features, of which most parts are built."""

import math

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from xfm.kernels.platform import platform
from xfm.parts.param import param


def linear(
    x: Float[Array, "*any_in"], kernel: Float[Array, "*in_out"], axes: int = 1, bias: Float[Array, "*out"] | None = None
) -> Float[Array, "*any_out"]:
    """The last `axes` axes of x contracted with the first of kernel, and the bias added.

    On a CPU the token axes are joined into one for the product: XLA then computes the gradient of the kernel as one
    product, where with two token axes it would copy both arrays (6 % of BERT-base's gradient). On other platforms they
    stay separate, since a mesh may split each of them.

    On a TPU the feature axes are joined: the heads leave the product side by side, as the attention kernel reads them,
    and enter the product after it in the same layout. With separate axes XLA would copy q, k, v and their gradients
    from one layout to another.
    """
    tokens, features = x.shape[:-axes], kernel.shape[axes:]
    if platform() == "tpu" and kernel.ndim > 2:
        x, kernel = x.reshape(*tokens, -1), kernel.reshape(math.prod(kernel.shape[:axes]), -1)
        bias = None if bias is None else bias.reshape(-1)  # a bias with separate axes would separate the heads again
        return linear(x, kernel, bias=bias).reshape(*tokens, *features)
    flat = platform() == "cpu" and len(tokens) > 1
    if flat:
        x = x.reshape(math.prod(tokens), *x.shape[-axes:])
    inside = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    y = jax.lax.dot_general(x, kernel, (inside, ((), ())))
    y = y if bias is None else y + bias
    return y.reshape(*tokens, *kernel.shape[axes:]) if flat else y


class Linear(nn.Module):
    """x W + b, in the dtype of x.

    features: of the output; a tuple for several axes, such as [N H].  axes: of x, from the last, that are contracted.
    """

    features: int | tuple[int, ...]
    bias: bool = True
    axes: int = 1
    init: jax.nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*any_in"]) -> Float[Array, "*any_out"]:
        out = (self.features,) if isinstance(self.features, int) else self.features
        shape = (*x.shape[-self.axes :], *out)
        ins, outs = tuple(range(self.axes)), tuple(range(self.axes, len(shape)))
        init = self.init or nn.initializers.lecun_normal(in_axis=ins, out_axis=outs)
        kernel = param(self, "kernel", init, shape).astype(x.dtype)
        bias = param(self, "bias", nn.initializers.zeros, out).astype(x.dtype) if self.bias else None
        return linear(x, kernel, self.axes, bias)
