"""The platform for which a program is being traced, and matrix products that run on every platform."""

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
    """The platform of the program that is being traced: "cpu", "gpu" or "tpu"."""
    return _TARGET.get() or jax.default_backend()


def interpreted() -> Any:
    """The argument `interpret` of Pallas for kernels that are being traced: False, or how the CPU interprets them."""
    return _INTERPRETED.get()


def devices() -> int:
    """The number of devices over which the program that is being traced may be sharded."""
    return _DEVICES.get() or jax.device_count()


def matrix_unit() -> int:
    """The contracted length that the TPU's matrix unit processes at once: 256 from v6e on, else (or if unknown) 128."""
    return 256 if any(name in _chip() for name in ("v6", "tpu7")) else 128


def cores() -> int:
    """The number of cores that share the program of a TPU device: two for v4 and v5p, else (or if unknown) one."""
    if _CHIP.get() is None and jax.default_backend() == "tpu":
        return getattr(jax.devices()[0], "num_cores", 1)  # what the runtime was started with
    return 2 if _chip().removeprefix("tpu") in ("v4", "v5", "v5p") else 1


def _chip() -> str:
    """The type of TPU in lower case without spaces, such as "v5p" or "tpuv5lite"; empty if unknown."""
    chip = _CHIP.get()
    if chip is None:
        chip = jax.devices()[0].device_kind if jax.default_backend() == "tpu" else ""
    return chip.replace(" ", "").lower()


@contextlib.contextmanager
def compiling_for(target: str, devices: int = 1, chip: str = "") -> Iterator[None]:
    """A context in which programs are traced for another platform, which this machine need not have.

    target: "cpu", "gpu" or "tpu".  devices: their number.
    chip: the type of TPU, such as "v5e", "v6e" or "tpu7x"; by default the program suits all types.
    """
    tokens = _TARGET.set(target), _DEVICES.set(devices), _CHIP.set(chip)
    try:
        yield
    finally:
        for variable, token in zip((_TARGET, _DEVICES, _CHIP), tokens, strict=True):
            variable.reset(token)


@contextlib.contextmanager
def interpreting(target: str, how: Any = True, devices: int = 1, chip: str = "") -> Iterator[None]:
    """A context in which programs are traced for `target`, with Pallas kernels interpreted by the CPU (for tests).

    how: True, or parameters of Pallas for an interpreter that detects races and reads out of bounds.
    devices, chip: as in `compiling_for`.
    """
    token = _INTERPRETED.set(how)
    try:
        with compiling_for(target, devices, chip):
            yield
    finally:
        _INTERPRETED.reset(token)


class Spread(NamedTuple):
    """A mesh, and the names of its axes over which the rows of batches and the heads are sharded."""

    mesh: jax.sharding.Mesh
    rows: str
    heads: str


@contextlib.contextmanager
def spread_over(mesh: jax.sharding.Mesh | None, rows: str = "data", heads: str = "model") -> Iterator[None]:
    """A context in which traced programs run on a mesh; with None, on a single device.

    XLA cannot partition a kernel that is written by hand, so kernels must know how their arrays are sharded.
    rows, heads: the axes over which rows of batches and heads are sharded.
    """
    token = _SPREAD.set(None if mesh is None or mesh.size == 1 else Spread(mesh, rows, heads))
    counted = _DEVICES.set(1 if mesh is None else mesh.size)
    try:
        yield
    finally:
        _SPREAD.reset(token)
        _DEVICES.reset(counted)


def spread() -> Spread | None:
    """How arrays are sharded, as set by `spread_over`; None on a single device, or if it is not set."""
    return _SPREAD.get()


def product(equation: str, left: Array, right: Array, wide=jnp.float32) -> Array:
    """The einsum of two arrays, accumulated in the dtype `wide`.

    On a CPU the arrays are converted to `wide` first. This does not change the result and costs nothing, since XLA
    would do the same, or (with jaxlib 0.7) fail to run some products of bfloat16 into float32.
    """
    if platform() == "cpu" or interpreted():
        left, right = left.astype(wide), right.astype(wide)
    return jnp.einsum(equation, left, right, preferred_element_type=wide)
