"""Additive biases on attention scores, as descriptions that a kernel evaluates block by block.

A bias has `block(b, n, query, key)`: the [t, s] bias of row b, head n, at those row indices.
"""

import dataclasses
import functools
import math
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_describes = functools.partial(functools.partial, jax.tree_util.register_dataclass)


class Bias(Protocol):
    """Anything with a `block`; a pytree, so that its arrays get gradients."""

    def block(
        self, b: Int[Array, ""], n: Int[Array, ""], query: Int[Array, "t"], key: Int[Array, "s"]
    ) -> Float[Array, "t s"]: ...


@_describes(data_fields=["slopes"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Slopes:
    """-slope · |t - s|, one slope per head (ALiBi). Differences are of row indices, so packing changes nothing."""

    slopes: Float[Array, "N"]

    def block(self, b, n, query, key):
        return -self.slopes[n] * jnp.abs(query[:, None] - key[None, :]).astype(jnp.float32)


@_describes(data_fields=["table"], meta_fields=["reach", "sides"])
@dataclasses.dataclass(frozen=True)
class Buckets:
    """One learned number per head and bucket of the distance s - t, exact near by and logarithmic further off.

    Raffel et al. 2020 (T5), section 2.1. sides: 2 where keys before and after get buckets of their own (encoders),
    1 where all later keys share the nearest bucket (decoders). reach: the distance from which on there is one bucket.
    """

    table: Float[Array, "buckets N"]
    reach: int = 128
    sides: int = 2

    def block(self, b, n, query, key):
        return self.table[self.bucket(key[None, :] - query[:, None]), n]

    def bucket(self, ahead: Int[Array, "*any"]) -> Int[Array, "*any"]:
        """The bucket of each difference s - t."""
        buckets = self.table.shape[0] // self.sides
        later = jnp.where(ahead > 0, buckets, 0) if self.sides == 2 else 0
        distance = jnp.abs(ahead) if self.sides == 2 else jnp.maximum(-ahead, 0)
        exact = buckets // 2
        growth = (buckets - exact) / math.log(self.reach / exact)
        far = exact + (jnp.log(jnp.maximum(distance, 1) / exact) * growth).astype(jnp.int32)
        return later + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1))


@_describes(data_fields=["values"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Dense:
    """A bias written out, [B or 1, N or 1, T, S]: the last resort, since it takes memory quadratic in length."""

    values: Float[Array, "B N T S"]

    def block(self, b, n, query, key):
        rows, heads, T, S = self.values.shape
        plane = self.values[jnp.where(rows > 1, b, 0), jnp.where(heads > 1, n, 0)]
        return plane[jnp.clip(query, 0, T - 1)[:, None], jnp.clip(key, 0, S - 1)[None, :]]
