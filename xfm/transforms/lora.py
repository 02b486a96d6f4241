"""LoRA: a trained update of low rank beside each frozen kernel. Hu et al. 2021, sections 4.1 and 4.2."""

import dataclasses
import math
import zlib

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from xfm.fields import Count, Positive, Regex
from xfm.spec import SpecError
from xfm.transforms.base import Transform, chosen


def update(a: Float[Array, "*stack_ins r"], b: Float[Array, "*stack_r_outs"], shape: tuple[int, ...]) -> Array:
    """A B for a kernel of that shape, [*stack, *ins, *outs]; a is [*stack, *ins, r] and b is [*stack, r, *outs]."""
    stack = shape[: a.ndim + b.ndim - 2 - len(shape)]
    rank = a.shape[-1]
    a, b = a.reshape(*stack, -1, rank), b.reshape(*stack, rank, -1)
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST).reshape(shape)


@dataclasses.dataclass(frozen=True)
class LoRA(Transform):
    """Kernels become W + alpha / rank · A B, with A of normal numbers of variance 1 / fan-in, and B of zeros, at first.

    paths: regex of the linear maps, found anywhere in their paths; the paper's choice, queries and values, by default.
    rank: r.  alpha: the update's scale times r.
    Own parameters of each: in [*stack, *ins, r] and out [*stack, r, *outs], the fan-in being the product of `ins`.
    The paper's dropout of the update's input is left out, because it is no function of the weights. A step forms W and
    its gradient, so that memory is saved in the optimiser's state and not in the step.
    """

    paths: Regex = r"(^|/)(q|v)$"
    rank: Count = 8
    alpha: Positive = 8.0

    def start(self, rng, sites):
        own = {}
        for path, site in chosen(sites, self.paths).items():
            fan_in, fan_out = math.prod(site.ins), math.prod(site.outs)
            if self.rank > min(fan_in, fan_out):
                raise SpecError(
                    f"transform 'lora': rank is {self.rank}, and {path} maps {fan_in} features to {fan_out}; "
                    f"choose a rank of at most {min(fan_in, fan_out)}"
                )
            key = jax.random.fold_in(rng, zlib.crc32(path.encode()))
            a = jax.random.normal(key, (*site.stack, *site.ins, self.rank)) / math.sqrt(fan_in)
            own[path] = {"in": a, "out": jnp.zeros((*site.stack, self.rank, *site.outs))}
        return own

    def weights(self, params, own, rng):
        flat = flatten_dict(params, sep="/")
        for path, leaves in own.items():
            kernel = flat[f"{path}/kernel"]
            change = self.alpha / self.rank * update(leaves["in"], leaves["out"], kernel.shape)
            flat[f"{path}/kernel"] = kernel + change.astype(kernel.dtype)
        return unflatten_dict(flat, sep="/")
