"""A random share of a grid's tokens, and the grid made again. Takes two seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, shapes
from tests.parts.sequences import linear
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.parts.down.restored import replaced
from xfm.parts.down.sampled import SAMPLED, sample, taken
from xfm.spec import SpecError, build

B, D, GRID = 3, 8, (4, 6)
T = GRID[0] * GRID[1]
POSITION = dict(kind="learned_grid", size=GRID, first=0)
X = jax.random.normal(jax.random.key(0), (B, T, D))
SEGMENTS = jnp.asarray(np.arange(T) < np.array([[T], [8], [15]]), jnp.int32)


def sampled(ratio=0.5, x=X, **known):
    """The part's output and context in training, and its table of positions."""
    part = build(SLOTS["down"], dict(kind="sampled", ratio=ratio, position=POSITION))
    params = noise(shapes(part, X, Context(grid=GRID)), 0.5)
    given = Context(grid=GRID, train=True, **known)
    return *part.apply(params, x, given, rngs={"dropout": jax.random.key(3)}), params["params"]["position"]["table"]


def test_sampled_tokens_keep_their_own_positions():
    y, ctx, table = sampled(0.5)
    numbers = np.asarray(ctx.shared[SAMPLED]["numbers"])
    assert y.shape == (B, T // 2, D) and ctx.grid is None and len(set(map(tuple, numbers.tolist()))) == B
    for row, of_row in enumerate(numbers):
        assert (np.diff(of_row) > 0).all()
        np.testing.assert_array_equal(y[row], X[row][of_row] + table[of_row])
    np.testing.assert_array_equal(ctx.shared[SAMPLED]["whole"], X)


def test_a_ratio_of_one_is_the_whole_grid():
    y, ctx, table = sampled(1.0)
    np.testing.assert_array_equal(y, X + table)
    assert ctx.grid == GRID and SAMPLED not in ctx.shared


def test_padding_is_sampled_last():
    """Half of a row is 12 tokens: all 8 that are real and padding after them, or 12 of 15."""
    y, ctx, _ = sampled(segments=SEGMENTS, positions=jnp.broadcast_to(jnp.arange(T), (B, T)))
    numbers = np.asarray(ctx.shared[SAMPLED]["numbers"])
    assert np.asarray(ctx.segments).sum(1).tolist() == [12, 8, 12]
    assert set(range(8)) <= set(numbers[1].tolist()) and numbers[2].max() < 15
    np.testing.assert_array_equal(ctx.positions, numbers)


def test_every_token_is_sampled_as_often():
    """Of 4,000 rows of 6 tokens half are taken: a share of 0.5 with a deviation of 0.008."""
    numbers = sample(jax.random.key(0), jnp.ones((4000, 6), bool), 3)
    assert numbers.shape == (4000, 3)
    assert np.abs(np.bincount(np.asarray(numbers).ravel()) / 4000 - 0.5).max() < 0.04


def test_what_was_taken_is_put_back():
    numbers = sample(jax.random.key(1), jnp.ones((B, T), bool), 7)
    np.testing.assert_array_equal(replaced(X, taken(X, numbers), numbers), X)


def test_dropped_tokens_are_maps_of_what_was_given():
    """Each with its own position, and both maps have gradients; the context is that of the grid."""
    part = build(SLOTS["down"], dict(kind="restored", width=5, position=POSITION))
    params = noise(shapes(part, X, Context(grid=GRID)), 0.5)
    given, ctx, _ = sampled(0.25, segments=SEGMENTS)
    x = jax.random.normal(jax.random.key(9), given.shape)

    def of(params, filling=0.0):
        real = SEGMENTS[..., None] > 0
        spoilt = {**ctx.shared[SAMPLED], "whole": jnp.where(real, X, filling)}
        y, after = part.apply(params, x, ctx.replace(shared={SAMPLED: spoilt}))
        return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape) * real).sum(), (y, after)

    (_, (y, after)), gradients = jax.value_and_grad(of, has_aux=True)(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    assert after.grid == GRID and after.segments is SEGMENTS and SAMPLED not in after.shared
    p, numbers = params["params"], np.asarray(ctx.shared[SAMPLED]["numbers"])
    for row in range(B):
        for token in range(T):
            if not SEGMENTS[row, token]:
                continue
            here = np.flatnonzero(numbers[row] == token)
            one = linear(p["in"], x[row, here[0]]) if len(here) else linear(p["dropped"], X[row, token])
            assert_close(y[row, token], one + p["position"]["table"][token])
    assert_close(jax.grad(lambda p: of(p, jnp.nan)[0])(params), gradients)


def test_no_tokens_are_refused():
    with pytest.raises(SpecError, match=r"a ratio of 0.01 leaves none of 24 tokens; set ratio"):
        sampled(0.01)
