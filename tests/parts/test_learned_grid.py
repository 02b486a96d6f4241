"""Learned positions of a grid: resized as torch does, leading tokens apart. Takes two seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden import close, load
from xfm.context import Context
from xfm.errors import XfmError
from xfm.parts.position import POSITIONS
from xfm.parts.resize import resize_maps, resize_matrix

GOLDEN = load("resize")
METHODS = ("nearest", "bilinear", "bicubic", "bilinear_antialiased", "bicubic_antialiased")
SIZES = ((5, 4), (7, 9), (2, 3), (3, 8), (10, 8))


def added(size, first=0, resize="bicubic", table=None, grid=(5, 4), T=None):
    """What the part adds to zeros, [T 3]."""
    table = GOLDEN["table"].reshape(-1, 3) if table is None else table
    part = POSITIONS["learned_grid"](size=grid, first=first, resize=resize)
    x = np.zeros((1, first + size[0] * size[1] if T is None else T, 3), np.float32)
    return part.apply({"params": {"table": table}}, x, Context(grid=size), method="add")[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_table_is_resized_as_by_torch(method):
    mine = jax.jit(lambda: [added(size, resize=method) for size in SIZES])()
    np.testing.assert_array_equal(mine[0], GOLDEN["table"].reshape(-1, 3))
    for size, one in zip(SIZES[1:], mine[1:], strict=True):
        close(one.reshape(*size, 3), GOLDEN[f"{method}/{size[0]}x{size[1]}"], f"{method} to {size}", 2e-6)


def test_maps_are_resized_as_by_torch():
    """(10, 8) is by whole factors, which are not computed by matrices."""
    mine = jax.jit(lambda x: [resize_maps(x, size) for size in SIZES])(GOLDEN["table"][None])
    for size, one in zip(SIZES[1:], mine[1:], strict=True):
        close(one[0], GOLDEN[f"bilinear/{size[0]}x{size[1]}"], f"maps to {size}", 2e-6)
    thrice = jax.jit(lambda x: resize_maps(x, (15, 4)))(GOLDEN["table"][None])[0]
    close(
        thrice, np.tensordot(resize_matrix(5, 15, "bilinear"), GOLDEN["table"], 1), "maps to three times the rows", 2e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_stays_constant(method):
    for before, after in ((5, 13), (13, 5), (1, 4), (14, 16), (37, 1)):
        np.testing.assert_allclose(resize_matrix(before, after, method).sum(axis=1), 1, rtol=1e-6)


def test_leading_tokens_keep_their_rows():
    table = np.random.default_rng(0).standard_normal((22, 3), np.float32)
    mine = jax.jit(lambda: (added((7, 9), first=2, table=table), added((7, 9), table=table[2:])))()
    np.testing.assert_array_equal(mine[0][:2], table[:2])
    np.testing.assert_array_equal(mine[0][2:], mine[1])


@pytest.mark.parametrize("grid,T", [(None, 13), ((3, 4), 12), ((3, 4), 14), ((2, 3, 4), 25)])
def test_a_row_that_is_no_grid_is_refused(grid, T):
    part = POSITIONS["learned_grid"](size=(3, 4))
    with pytest.raises(XfmError, match=rf"needs 1 tokens and those of a grid \(h, w\); .* the row has {T} tokens"):
        part.apply({}, jnp.zeros((1, T, 4)), Context(grid=grid), method="add")


def test_a_table_of_sines_begins_as_the_fixed_positions():
    """Of MAE, whose files store such tables; the class token's row is zero."""
    x, ctx = jnp.zeros((1, 13, 16)), Context(grid=(3, 4))
    part = POSITIONS["learned_grid"](size=(3, 4), start="sines")
    own = part.init_with_output(jax.random.key(0), x, ctx, method="add")[0]
    fixed = POSITIONS["sinusoidal_2d"]().apply({}, x, ctx, method="add")
    np.testing.assert_array_equal(own, fixed)
    assert not np.asarray(own)[0, 0].any()
