"""Small operations that the TPU kernels share, and how the work of several heads runs side by side."""

from collections.abc import Generator

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl


def side_by_side(works: list[Generator]) -> list:
    """What each returns; all go on to their next `yield` before any goes further.

    The compiler fills the units with what stands close together in the program: the products of one head beside the
    exponentials of another.
    """
    results, going = [None] * len(works), list(range(len(works)))
    while going:
        for number in tuple(going):
            try:
                next(works[number])
            except StopIteration as end:
                results[number] = end.value
                going.remove(number)
    return results


def sigmoid(scores):
    """Of scores in base 2."""
    return 1 / (1 + jnp.exp2(-scores))


def clipped(shares, clip: tuple[float, float]):
    """The weights that shares of a softmax are stretched and clipped to, and the slope of each."""
    gamma, zeta = clip
    stretched = (zeta - gamma) * shares + gamma
    inside = (stretched > 0) & (stretched < 1)
    return jnp.clip(stretched, 0, 1), jnp.where(inside, zeta - gamma, 0.0)


def dot(a, b, contract_a: int, contract_b: int):
    """a · b over one axis of each, in float32; what is float32 is multiplied as such."""
    if 1 in a.shape + b.shape:  # a vector, whose product the compiler takes in float32 alone
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jax.lax.dot_general(
        a,
        b,
        (((contract_a,), (contract_b,)), ((), ())),
        preferred_element_type=jnp.float32,
        precision=jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None,
    )


def when(state, is_: int):
    """Runs a function where a block's state is that one; nothing is left of it where another is known before."""
    if isinstance(state, int):
        return (lambda run: run()) if state == is_ else (lambda run: None)
    return pl.when(state == is_)


def zeroed(a, real):
    """0 where a token is not real; real is None where all are."""
    return a if real is None else jnp.where(real, a, 0)


def iota(shape, axis):
    return jax.lax.broadcasted_iota(jnp.int32, shape, axis)


def column(row):
    """[1 s] -> [s 1]."""
    return jnp.broadcast_to(row, (8, row.shape[1])).T[:, :1]


def div(index, by: int):
    return jax.lax.div(index, jnp.int32(by))


def rem(index, by: int):
    return jax.lax.rem(index, jnp.int32(by))
