"""AdapterBias: one trained vector per layer, added to each token by a trained amount. Fu et al. 2022, section 3."""

import dataclasses
import math
import zlib

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from xfm.errors import XfmError
from xfm.fields import Regex
from xfm.transforms.base import Transform, chosen


def shift(
    x: Float[Array, "*any_ins"], vector: Float[Array, "*outs"], kernel: Float[Array, "*ins"], bias: Float[Array, ""]
) -> Float[Array, "*any_outs"]:
    """(kernel · x + bias) vector: the vector times a number that depends on the token."""
    amount = jnp.tensordot(x, kernel.astype(x.dtype), kernel.ndim) + bias.astype(x.dtype)
    return amount.reshape(*amount.shape, *(1,) * vector.ndim) * vector.astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class AdapterBias(Transform):
    """Linear maps become y + (kernel · x + bias) vector; the vector is zero at first, so that nothing changes.

    paths: regex of the linear maps, found anywhere in their paths; by default the second of each feed-forward part, as
    in the paper and in the authors' release, where the amount is read from the F hidden units.
    Own parameters of each: vector [*stack, *outs], kernel [*stack, *ins], bias [*stack]; D + F + 1 numbers a layer.
    Dropout on the part's output falls on the shift as well; in the authors' release the shift comes after it.
    """

    paths: Regex = r"(^|/)down$"

    def start(self, rng, sites):
        own = {}
        for path, site in chosen(sites, self.paths).items():
            key = jax.random.fold_in(rng, zlib.crc32(path.encode()))
            kernel = jax.random.normal(key, (*site.stack, *site.ins)) / math.sqrt(math.prod(site.ins))
            vector, bias = jnp.zeros((*site.stack, *site.outs)), jnp.zeros(site.stack)
            own[path] = {"vector": vector, "kernel": kernel, "bias": bias}
        return own

    def around(self, own):
        def shifted(call, args, kwargs, context):
            y, leaves = call(*args, **kwargs), own(context.module)
            return y if leaves is None else y + shift(args[0], **leaves)

        return shifted

    def merged(self, params, own):
        """The shift is linear in x: it becomes an update of the kernel, of rank one, and one of the bias."""
        flat = flatten_dict(params, sep="/")
        for path, leaves in own.items():
            vector, kernel, stack = leaves["vector"], leaves["kernel"], leaves["bias"].shape
            ins, outs = kernel.shape[len(stack) :], vector.shape[len(stack) :]
            if f"{path}/bias" not in flat:
                raise XfmError(
                    f"transform 'adapter_bias' cannot be merged: the linear map {path} has no bias to add to"
                )
            column = kernel.reshape(*stack, *ins, *(1,) * len(outs))
            row = vector.reshape(*stack, *(1,) * len(ins), *outs)
            amount = leaves["bias"].reshape(*stack, *(1,) * len(outs))
            for leaf, change in (("kernel", column * row), ("bias", amount * vector)):
                before = flat[f"{path}/{leaf}"]
                flat[f"{path}/{leaf}"] = before + change.astype(before.dtype)
        return unflatten_dict(flat, sep="/")
