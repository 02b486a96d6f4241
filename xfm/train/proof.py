"""What proves a checkpoint: the layout and a checksum of every array, with a checksum of the proof itself.

The checksum of an array does not depend on how the array is sharded: every word of its bits is mixed with its index by
a bijection of uint32, and the results are added modulo 2^32. Addition commutes, so each device sums what it holds, and
a change of any single word changes the sum.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped, UInt32

from xfm.paths import flatten
from xfm.sharding import first_replica


def checksums(leaves: Mapping[str, Array]) -> dict[str, int]:
    """path -> checksum, for arrays that may span several processes."""
    sums = {path: _sum(first_replica(x)) for path, x in leaves.items()}
    return {path: int(value) for path, value in jax.device_get(sums).items()}


def layout(tree: Any) -> dict[str, list]:
    """path -> [shape, dtype], as JSON data."""
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in flatten(tree).items()}


def sealed(proof: dict) -> dict:
    """JSON data with a checksum of itself."""
    return {"content": proof, "crc32": zlib.crc32(_canonical(proof))}


def unsealed(data: dict) -> dict:
    """The data inside `sealed` data.  Raises ValueError if its checksum is wrong."""
    if data["crc32"] != zlib.crc32(_canonical(data["content"])):
        raise ValueError("the checksum of its JSON is wrong")
    return data["content"]


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True).encode()


@jax.jit
def _sum(x: Shaped[Array, "..."]) -> UInt32[Array, ""]:
    words = _words(x)
    index, stride = jnp.zeros(words.shape, jnp.uint32), 1
    for axis in reversed(range(words.ndim)):
        index += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    return _mixed(words + index * jnp.uint32(0x9E3779B9)).sum(dtype=jnp.uint32)


def _words(x: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    """The bits of x as uint32; wider types get a last axis, narrower ones a word each."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.random.key_data(x)
    if x.dtype == jnp.bool_:
        return x.astype(jnp.uint32)
    width = min(x.dtype.itemsize, 4)
    word = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[width]
    return jax.lax.bitcast_convert_type(x, word).astype(jnp.uint32)


def _mixed(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A finaliser in the style of MurmurHash3: xor-shifts and odd multipliers, so a bijection."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
