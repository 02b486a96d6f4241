"""Random keys whose numbers are cheap to compile: an integer hash in place of Threefry's twenty rounds.

With them an initialisation or a mask is drawn from its own distribution by the same code, by a much smaller program.
The hash is the finaliser of MurmurHash3 (Appleby 2011), applied twice.
"""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

GOLDEN = 0x9E3779B9


def _mixed(x):
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)


def _seed(seed):
    return _mixed(jnp.asarray(seed).astype(jnp.uint32)[None] + jnp.uint32(GOLDEN))


def _fold_in(key, data):
    return _mixed(key * jnp.uint32(3) + _mixed(jnp.asarray(data).astype(jnp.uint32) + jnp.uint32(1)))


def _bits(key, width, shape):
    count = jax.lax.iota(jnp.uint32, math.prod(shape))
    return _mixed(_mixed(count + key) ^ key).reshape(shape).astype(f"uint{width}")


def _split(key, shape):
    return _bits(_fold_in(key, 0x5EED), 32, (*shape, 1))


HASHED = define_prng_impl(
    key_shape=(1,), seed=_seed, split=_split, random_bits=_bits, fold_in=_fold_in, name="hashed", tag="hash"
)


def key(seed: int):
    """As jax.random.key."""
    return jax.random.key(seed, impl=HASHED)
