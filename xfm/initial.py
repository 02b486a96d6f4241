"""The shapes of a network's initial variables, by tracing alone, once for each network and batch."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax

from xfm.kernels.platform import platform

UNDRAWN: ContextVar[bool] = ContextVar("whether parameters are not drawn", default=False)


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Within it `init` gives zeros for parameters of `xfm.parts.param`, for a trace of which only the shapes are used.

    A function that is traced within must not be traced elsewhere: JAX keeps what it traced.
    """
    token = UNDRAWN.set(True)
    try:
        yield
    finally:
        UNDRAWN.reset(token)


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
    with undrawn():
        return jax.eval_shape(lambda *given: network.init(*given), jax.random.key(0), dict(batch))


@functools.lru_cache(maxsize=64)
def _kept(network, batch, platform):
    return _traced(network, batch)
