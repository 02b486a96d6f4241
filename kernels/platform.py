"""For which platform a program is being traced, and matrix products that every platform can run."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

_TARGET: contextvars.ContextVar[str | None] = contextvars.ContextVar("xfm_target", default=None)
_INTERPRETED: contextvars.ContextVar[Any] = contextvars.ContextVar("xfm_interpreted", default=False)
_SPREAD: contextvars.ContextVar["Spread | None"] = contextvars.ContextVar("xfm_spread", default=None)
_DEVICES: contextvars.ContextVar[int | None] = contextvars.ContextVar("xfm_devices", default=None)
_CHIP: contextvars.ContextVar[str | None] = contextvars.ContextVar("xfm_chip", default=None)


def platform() -> str:
    """ "cpu", "gpu" or "tpu": where what is traced now will run."""
    return _TARGET.get() or jax.default_backend()


def interpreted() -> Any:
    """What Pallas takes as `interpret` for kernels traced now: False, or how they run interpreted on the CPU."""
    return _INTERPRETED.get()


def devices() -> int:
    """Over how many devices what is traced now may be spread."""
    return _DEVICES.get() or jax.device_count()


def matrix_unit() -> int:
    """How long a product the TPU's matrix unit adds up at once: 256 from v6e on; 128 before, and where unknown."""
    chip = _CHIP.get()
    if chip is None:
        chip = jax.devices()[0].device_kind if jax.default_backend() == "tpu" else ""
    return 256 if any(name in chip.replace(" ", "").lower() for name in ("v6", "tpu7")) else 128


@contextlib.contextmanager
def compiling_for(target: str, devices: int = 1, chip: str = "") -> Iterator[None]:
    """Within, programs are traced for so many devices of `target`, which this machine may lack (compiling ahead).

    chip: the kind of TPU, as "v5e", "v6e" or "tpu7x"; unless given, what is traced suits all.
    """
    tokens = _TARGET.set(target), _DEVICES.set(devices), _CHIP.set(chip)
    try:
        yield
    finally:
        for variable, token in zip((_TARGET, _DEVICES, _CHIP), tokens, strict=True):
            variable.reset(token)


@contextlib.contextmanager
def interpreting(target: str, how: Any = True, devices: int = 1, chip: str = "") -> Iterator[None]:
    """Within, programs are traced as for `target` and its Pallas kernels run interpreted on the CPU (tests).

    how: True, or Pallas's parameters of an interpreter that watches for races and for reads out of bounds.
    """
    token = _INTERPRETED.set(how)
    try:
        with compiling_for(target, devices, chip):
            yield
    finally:
        _INTERPRETED.reset(token)


class Spread(NamedTuple):
    """Over which axes of a mesh the rows of batches and the heads go."""

    mesh: jax.sharding.Mesh
    rows: str
    heads: str


@contextlib.contextmanager
def spread_over(mesh: jax.sharding.Mesh | None, rows: str = "data", heads: str = "model") -> Iterator[None]:
    """Within, what is traced runs on that mesh; None: on one device, however many there are.

    XLA cannot cut a kernel written by hand, so that the kernels must know how their arrays are cut.
    """
    token = _SPREAD.set(None if mesh is None or mesh.size == 1 else Spread(mesh, rows, heads))
    counted = _DEVICES.set(1 if mesh is None else mesh.size)
    try:
        yield
    finally:
        _SPREAD.reset(token)
        _DEVICES.reset(counted)


def spread() -> Spread | None:
    """How arrays are cut where `spread_over` says so; None on one device, or where nothing is known."""
    return _SPREAD.get()


def product(equation: str, left: Array, right: Array, wide=jnp.float32) -> Array:
    """einsum of two arrays, accumulated in `wide`.

    On a CPU the arrays are widened first, which changes no product and costs nothing: XLA would do so itself, or
    (jaxlib 0.7) fail to run some products of bfloat16 into float32.
    """
    if platform() == "cpu" or interpreted():
        left, right = left.astype(wide), right.astype(wide)
    return jnp.einsum(equation, left, right, preferred_element_type=wide)
