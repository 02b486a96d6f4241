"""TrAct: a first layer that learns as if its activations were trained, not its weights.

Petersen, Borgelt, Ermon, "TrAct: Making First-layer Pre-Activations Trainable" (2024), section 3, equation 7: the
weights' gradient is that of the closed-form least-squares step, so that an image's contrast does not say how much is
learned from it. Values are those of the plain layer.
"""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Positive, Regex
from xfm.parts.linear import Linear, linear
from xfm.transforms.base import Transform, chosen


def whitened(x: Float[Array, "b n"], gradient: Float[Array, "n m"], damping: float) -> Float[Array, "n m"]:
    """(xᵀ x / b + damping · I)^-1 times the gradient of the kernel, in float32."""
    x = x.astype(jnp.float32)
    gram = jnp.matmul(x.T, x, precision="highest") / x.shape[0] + damping * jnp.eye(x.shape[1])
    return jax.scipy.linalg.solve(gram, gradient.astype(jnp.float32), assume_a="pos").astype(gradient.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: Float[Array, "*any n"], kernel: Float[Array, "n m"], damping: float) -> Float[Array, "*any m"]:
    """x times the kernel, whose gradient is `whitened`; x's is the plain one."""
    return linear(x, kernel)


def _forward(x, kernel, damping):
    return linear(x, kernel), (x, kernel)


def _backward(damping, saved, dy):
    x, kernel = saved
    rows = x.reshape(-1, x.shape[-1])
    plain = jnp.matmul(rows.T, dy.reshape(-1, dy.shape[-1]))
    return linear(dy, kernel.T), whitened(rows, plain.astype(kernel.dtype), damping)


product.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class TrAct(Transform):
    """The gradient of a linear map's kernel is multiplied by (xᵀ x / b + damping · I)^-1, x being its b inputs.

    paths: regex of the linear maps, by default that of a vision transformer's patches.  damping: λ of the paper, whose
    images have a deviation of 1; the larger it is, the nearer the direction is to the plain gradient's.
    With accumulated gradients, b is the rows of a microbatch.
    """

    paths: Regex = r"^embed/(stem/)?patch$"
    damping: Positive = 0.1

    def start(self, rng, sites):
        for path, site in chosen(sites, self.paths).items():
            if len(site.ins) != 1 or len(site.outs) != 1:
                raise XfmError(f"transform 'tract' changes maps from one axis to one; {path} has more, leave it out")
        return {}

    def around(self, own):
        def changed(call, args, kwargs, context):
            module = context.module
            there = isinstance(module, Linear) and module.scope is not None
            if not there or not re.search(self.paths, "/".join(module.scope.path)):
                return call(*args, **kwargs)
            leaves = {name: module.scope.get_variable("params", name) for name in ("kernel", "bias")}
            y = product(args[0], leaves["kernel"].astype(args[0].dtype), self.damping)
            return y if leaves["bias"] is None else y + leaves["bias"].astype(y.dtype)

        return changed

    def merged(self, params, own):
        """The parameters themselves, since values do not change."""
        return params
