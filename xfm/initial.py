"""The shapes of a network's initial variables, by tracing alone, once for each network and batch."""

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from xfm.kernels.platform import platform

_SHAPES_ONLY: contextvars.ContextVar[bool] = contextvars.ContextVar("xfm_shapes_only", default=False)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """A context in which new parameters are zeros, for tracing an initialisation of which only shapes are wanted.

    Initialisers are then not traced, which takes a quarter of the time that tracing an initialisation takes. Trace a
    function made for it, such as a lambda: JAX keeps what it traced of a function and would give zeros elsewhere too.
    """
    token = _SHAPES_ONLY.set(True)
    try:
        yield
    finally:
        _SHAPES_ONLY.reset(token)


def in_shapes_only() -> bool:
    """Whether this runs in the context `shapes_only`."""
    return _SHAPES_ONLY.get()


def initial_shapes(network: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """What `network.init(key, batch)` returns, as shapes and dtypes: collection -> nested dict.

    batch: arrays, or their shapes and dtypes. Tracing a network takes up to seconds, so the last results are kept.
    """
    given = tuple((name, jax.ShapeDtypeStruct(x.shape, x.dtype)) for name, x in sorted(batch.items()))
    try:
        found = _kept(network, given, platform())
    except TypeError:  # a field of a class outside the package that cannot be hashed
        found = _traced(network, given)
    return jax.tree.map(lambda x: x, found)  # new dicts, which the caller may change


def _traced(network: nn.Module, batch: tuple[tuple[str, jax.ShapeDtypeStruct], ...]) -> dict[str, Any]:
    with shapes_only():
        return jax.eval_shape(lambda *given: network.init(*given), jax.random.key(0), dict(batch))


@functools.lru_cache(maxsize=64)
def _kept(network, batch, platform):
    return _traced(network, batch)
