"""For which platform a program is being traced, and matrix products that every platform can run."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

_TARGET: contextvars.ContextVar[str | None] = contextvars.ContextVar("xfm_target", default=None)
_INTERPRETED: contextvars.ContextVar[Any] = contextvars.ContextVar("xfm_interpreted", default=False)


def platform() -> str:
    """ "cpu", "gpu" or "tpu": where what is traced now will run."""
    return _TARGET.get() or jax.default_backend()


def interpreted() -> Any:
    """What Pallas takes as `interpret` for kernels traced now: False, or how they run interpreted on the CPU."""
    return _INTERPRETED.get()


@contextlib.contextmanager
def compiling_for(target: str) -> Iterator[None]:
    """Within, programs are traced for `target`, which this machine may lack (ahead-of-time compilation)."""
    token = _TARGET.set(target)
    try:
        yield
    finally:
        _TARGET.reset(token)


@contextlib.contextmanager
def interpreting(target: str, how: Any = True) -> Iterator[None]:
    """Within, programs are traced as for `target` and its Pallas kernels run interpreted on the CPU (tests).

    how: True, or Pallas's parameters of an interpreter that watches for races and for reads out of bounds.
    """
    token = _INTERPRETED.set(how)
    try:
        with compiling_for(target):
            yield
    finally:
        _INTERPRETED.reset(token)


def product(equation: str, left: Array, right: Array, wide=jnp.float32) -> Array:
    """einsum of two arrays, accumulated in `wide`.

    On a CPU the arrays are widened first, which changes no product and costs nothing: XLA would do so itself, or
    (jaxlib 0.7) fail to run some products of bfloat16 into float32.
    """
    if platform() == "cpu" or interpreted():
        left, right = left.astype(wide), right.astype(wide)
    return jnp.einsum(equation, left, right, preferred_element_type=wide)
