"""What padding holds, NaN included, reaches no answer and no gradient, of tokens or of parameters: every slot's parts.

In a gradient 0 · NaN is NaN, so a zero weight does not stop it; each part replaces what padding holds. test_mixers.py
asks the same of mixers, and tests/structures/test_padding.py of networks. Norms know no padding; networks keep it away.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.parts.cases import OF_IMAGES
from tests.parts.examples import examples
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import build

T, D = 9, 16
SEGMENTS = jnp.array([[1] * 6 + [0] * 3, [0, 2, 2, 0, 2, 2, 2, 2, 2], [0] * T])  # the last row is all padding
REAL = (SEGMENTS > 0)[..., None]
FILLINGS = (jnp.nan, jnp.inf, 1e30)


def stream(seed):
    return np.random.default_rng(seed).standard_normal((*SEGMENTS.shape, D), np.float32)


def counted(y):
    """The answer's numbers, but those of padding."""
    per_token = y.shape[:2] == SEGMENTS.shape
    return jnp.where(REAL.reshape(*SEGMENTS.shape, *[1] * (y.ndim - 2)), y, 0) if per_token else y


def assert_padding_stays_away(part, inputs, ctx):
    """inputs(filling): what the part reads, with that number in padding."""
    params = noise(shapes(part, *inputs(0.0), ctx))

    @jax.jit
    def seen(filling):
        def loss(params, given):
            out = jax.tree.leaves(part.apply(params, *given, ctx))
            out = [counted(y) for y in out if jnp.issubdtype(y.dtype, jnp.floating)]
            return sum((y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum() for y in out), out

        gradients, out = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, inputs(filling))
        return gradients[0], [jnp.where(REAL, g, 0) for g in gradients[1]], out

    expected = seen(0.0)
    for filling in FILLINGS:
        assert_close(seen(filling), expected, rtol=0)


def streams(count):
    return lambda filling: [jnp.where(REAL, stream(i), filling) for i in range(count)]


@pytest.mark.parametrize("kind,spec", examples("ffn"))
def test_ffns(kind, spec):
    assert_padding_stays_away(build(SLOTS["ffn"], spec), streams(1), Context(segments=SEGMENTS))


@pytest.mark.parametrize("kind,spec", examples("residual"))
def test_residuals(kind, spec):
    earlier = {name: jnp.where(REAL, stream(i), jnp.nan) for i, name in ((2, "embedded"), (3, "period"))}
    ctx = Context(segments=SEGMENTS, shared=earlier)
    assert_padding_stays_away(build(SLOTS["residual"], spec), streams(2), ctx)


HEADS = {case.values[0]: case for case in reversed(examples("head"))}.values()  # the first example of each


@pytest.mark.parametrize("slot,kind,spec", [
    pytest.param(slot, *case.values, id=f"{slot}-{case.id}")
    for slot, cases in (("pool", examples("pool")), ("head", HEADS)) for case in cases
])  # fmt: skip
def test_pools_and_heads(slot, kind, spec):
    """Of a row that is all padding too, whose answer is a number."""
    tokens = jnp.arange(SEGMENTS.size).reshape(SEGMENTS.shape) % 11
    known = dict(tokens=tokens, heads=dict(pooled=stream(3)[:, 0]), embedding=stream(4)[0, :, :].repeat(2, 0)[:11])
    positions = jnp.where(SEGMENTS > 0, jnp.arange(T), 10**6)
    ctx = Context(segments=SEGMENTS, positions=positions, grid=(2, 4), **known)
    assert_padding_stays_away(build(SLOTS[slot], spec), streams(1), ctx)


@pytest.mark.parametrize("kind,spec", [case for case in examples("embed") if case.values[0] not in OF_IMAGES])
def test_embeddings(kind, spec):
    """Ids, types and positions that no table has a row for; images have no padding."""
    embed, real = build(SLOTS["embed"], spec), SEGMENTS > 0
    tokens = jnp.arange(SEGMENTS.size).reshape(SEGMENTS.shape) % 11
    ctx = Context(segments=SEGMENTS)
    params = noise(shapes(embed, {"tokens": tokens, "types": tokens % 2}, ctx))

    @jax.jit
    def seen(other):
        given = {name: jnp.where(real, ids, other) for name, ids in (("tokens", tokens), ("types", tokens % 2))}
        here = ctx.replace(positions=jnp.where(real, jnp.arange(T), other))

        def loss(params):
            x = embed.apply(params, given, here)[0]
            return (counted(x) * stream(5)).sum(), (counted(x), jnp.isfinite(x).all())

        return jax.grad(loss, has_aux=True)(params)

    gradient, (x, finite) = seen(0)
    for other in (10**6, -(10**6)):
        found, (y, finite) = seen(other)
        assert finite
        assert_close((found, y), (gradient, x), rtol=0)
