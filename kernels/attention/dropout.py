"""Dropout of attention weights, each decided by a seed and four indices, so that no mask is stored.

Every implementation drops the same weights, in any order of blocks, and a backward pass recomputes which.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32


@functools.partial(jax.tree_util.register_dataclass, data_fields=["seed"], meta_fields=["rate"])
@dataclasses.dataclass(frozen=True)
class Dropout:
    """Each weight is zeroed with probability `rate`; the others are multiplied by 1 / (1 - rate)."""

    rate: float
    seed: UInt32[Array, ""]

    @classmethod
    def of(cls, rate: float, key: Array) -> "Dropout":
        """The dropout of this rate whose seed is drawn with a PRNG key."""
        return cls(rate, jax.random.bits(key, dtype=jnp.uint32))

    def keep(
        self, b: Int[Array, ""], n: Int[Array, ""], query: Int[Array, " t"], key: Int[Array, " s"]
    ) -> Bool[Array, "t s"]:
        """Which weights of row b and head n stay, at these row indices."""
        return self.keep_at(b, n, query[:, None], key[None, :])

    def keep_at(
        self, b: Int[Array, ""], n: Int[Array, ""], query: Int[Array, "*any"], key: Int[Array, "*any"]
    ) -> Bool[Array, "*any"]:
        """`keep` for indices of any shapes that broadcast against each other."""
        head = _mix(_mix(self.seed + _u32(b)) + _u32(n))
        row = _mix(head + _u32(query) * jnp.uint32(0x9E3779B9))
        bits = _mix(row + _u32(key) * jnp.uint32(0x85EBCA77))
        return bits >= jnp.uint32(min(int(self.rate * 2**32), 2**32 - 1))


def _u32(index) -> Array:
    return jnp.asarray(index).astype(jnp.uint32)


def _mix(h: UInt32[Array, "*any"]) -> UInt32[Array, "*any"]:
    """A 32-bit finaliser (the constants of MurmurHash3): every input bit affects every output bit."""
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)
