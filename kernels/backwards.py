"""A recurrence over the tokens of a row, made to run from the end of the row to its beginning."""

import functools
from collections.abc import Callable

import jax.numpy as jnp


def backwards(operation: Callable) -> Callable:
    """`operation` on the row in reverse order, with its arguments and results in the order of the row.

    The operation takes arrays of the row, [B T ...] with at least three axes, and `segments` [B T], and returns y
    [B T ...] and a state. All of them must be given by name, as `state`, the state after the last token, must be. A
    state in and out belongs to the row's end and beginning: the state that is given is continued by the last segment,
    and the one that is returned contains the first token.
    """

    @functools.wraps(operation)
    def run(**given):
        def flipped(name, v):
            in_row = v is not None and name != "state" and (name == "segments" or getattr(v, "ndim", 0) > 2)
            return jnp.flip(v, axis=1) if in_row else v

        y, state = operation(**{name: flipped(name, v) for name, v in given.items()})
        return jnp.flip(y, axis=1), state

    return run
