"""Small operations that the TPU kernels share, and the interleaving of the work of several heads."""

from collections.abc import Generator

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl


def side_by_side(works: list[Generator]) -> list:
    """The results of the generators, which are advanced in turn, each to its next `yield`.

    The compiler overlaps operations that are close together in the program, such as the products of one head and the
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
    """The sigmoid of scores in base 2."""
    return 1 / (1 + jnp.exp2(-scores))


def clipped(shares, clip: tuple[float, float]):
    """The weights after stretching and clipping the shares of a softmax, and their slopes."""
    gamma, zeta = clip
    stretched = (zeta - gamma) * shares + gamma
    inside = (stretched > 0) & (stretched < 1)
    return jnp.clip(stretched, 0, 1), jnp.where(inside, zeta - gamma, 0.0)


def dot(a, b, contract_a: int, contract_b: int):
    """a · b over one axis of each, accumulated in float32; float32 inputs are multiplied at full precision."""
    if 1 in a.shape + b.shape:  # a vector, whose product the compiler supports in float32 only
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jax.lax.dot_general(
        a,
        b,
        (((contract_a,), (contract_b,)), ((), ())),
        preferred_element_type=jnp.float32,
        precision=jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None,
    )


def when(state, is_: int):
    """Runs the decorated function where a block's state is `is_`; not compiled if known to be another."""
    if isinstance(state, int):
        return (lambda run: run()) if state == is_ else (lambda run: None)
    return pl.when(state == is_)


def zeroed(a, real):
    """a with 0 where a token is not real; real is None where all are."""
    return a if real is None else jnp.where(real, a, 0)


def iota(shape, axis):
    """The index along an axis, in an int32 array of this shape."""
    return jax.lax.broadcasted_iota(jnp.int32, shape, axis)


def column(row):
    """[1 s] -> [s 1]."""
    return jnp.broadcast_to(row, (8, row.shape[1])).T[:, :1]


def div(index, by: int):
    """index // by, for indices that are not negative."""
    return jax.lax.div(index, jnp.int32(by))


def rem(index, by: int):
    """index % by, for indices that are not negative."""
    return jax.lax.rem(index, jnp.int32(by))
