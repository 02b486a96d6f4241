"""Layer normalisation whose scale and bias are linear in a lead time: how long after its input a state is predicted.

Herde, Raonić, Rohner, Käppeli, Molinaro, de Bézenac, Mishra, "Poseidon: Efficient Foundation Models for PDEs", 2024,
section 2 and its appendix on the network.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from xfm.fields import Positive
from xfm.parts.linear import Linear
from xfm.parts.norm.layernorm import layernorm
from xfm.spec import SpecError


class Timed(nn.Module):
    """(W t + a) · layernorm(x) + (V t + b), with t the row's lead time.

    Within `lead_times` the structure gives the times, and the parts that call the norm need not know of them.
    """

    eps: Positive = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "B *any D"], times: Float[Array, "B"] | None = None) -> Float[Array, "B *any D"]:
        if times is None:
            raise SpecError(
                "norm 'timed' reads the lead time of each row, batch['times'], which structure 'unet' gives; use data "
                "that has it, or another norm"
            )
        t, D = times.astype(jnp.float32)[:, None], x.shape[-1]
        scale, bias = (Linear(D, name=name)(t).reshape(-1, *(1,) * (x.ndim - 2), D) for name in ("gain", "shift"))
        return (scale * layernorm(x, self.eps) + bias).astype(x.dtype)


def lead_times(times: Float[Array, "B"]) -> Callable[..., Any]:
    """An interceptor, as `flax.linen.intercept_methods` takes it, that gives the times to every norm `timed`."""

    def given(call, args, kwargs, context):
        timed = isinstance(context.module, Timed) and context.method_name == "__call__"
        return call(*args, times, **kwargs) if timed else call(*args, **kwargs)

    return given
