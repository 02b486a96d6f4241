"""Windows of a grid: cut and joined, each mixed alone, shifted ones in regions; and the bias of offsets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.parts.mixer.windowed import Windows
from xfm.spec import SpecError, build

B, D, GRID = 2, 16, (5, 6)
T = GRID[0] * GRID[1]
MIXER = dict(kind="attention", heads=2, position=dict(kind="relative_grid", size=(2, 4)))


def made(grid=GRID, **changes):
    """A windowed mixer, parameters away from their start, and a stream."""
    mixer = build(SLOTS["mixer"], dict(kind="windowed", mixer=MIXER, window=(2, 4)) | changes)
    x = jax.random.normal(jax.random.key(0), (B, grid[0] * grid[1], D))
    return mixer, noise(shapes(mixer, x, Context(grid=grid)), 0.5), x


def test_join_undoes_cut():
    x = jnp.arange(2 * 35 * 3).reshape(2, 35, 3)
    for size, shift in (((2, 3), (1, 2)), ((5, 4), (0, 1)), ((1, 7), (0, 0))):
        for padding in ("masked", "before_shift", "after_shift"):
            windows = Windows((5, 7), size, shift, padding)
            assert (windows.join(windows.cut(x)) == x).all()
    tokens = Windows((4, 4), (2, 2), (0, 0)).cut(jnp.arange(16).reshape(1, 16))
    assert tokens.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("grid,shift", [(GRID, 0), (GRID, (1, 2)), ((4, 8), (1, 2)), ((4, 8), (0, 3))])
@pytest.mark.parametrize("padding", [0, 8], ids=["whole", "padded"])
def test_a_token_sees_its_window_and_no_more(grid, shift, padding):
    """Token by token: two tokens meet where the same window, moved over the plane, holds both.

    One grid is filled up to whole windows; in the other a shift brings opposite sides together.
    """
    T = grid[0] * grid[1]
    segments = np.array([[1] * T, [2] * (T - padding) + [0] * padding]) if padding else None
    mixer, params, x = made(grid, shift=shift)
    y = np.asarray(run(mixer, params, x, Context(grid=grid, segments=segments))[0])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"]["mixer"])
    moved = (shift, shift) if isinstance(shift, int) else shift
    cell = np.stack(np.divmod(np.arange(T), grid[1]), axis=1)
    window = (cell - moved) // np.array([2, 4])  # before the first window there are the shift's rows: window -1
    together = (window[:, None] == window[None]).all(-1)
    offset = cell[:, None] - cell[None] + np.array([1, 3])
    inside = np.clip(offset, 0, np.array([2, 6]))
    bias = p["position"]["table"][inside[..., 0], inside[..., 1]]
    for row in range(B):
        a, own = np.asarray(x[row], np.float64), np.ones(T, int) if segments is None else segments[row]
        q, k, v = (np.einsum("td,dnh->tnh", a, p[n]["kernel"]) + p[n]["bias"] for n in "qkv")
        scores = np.einsum("tnh,snh->tsn", q, k) / np.sqrt(8) + bias
        scores[~(together & (own > 0)[None])] = -np.inf
        real = own > 0
        weights = np.exp(scores[real] - scores[real].max(1, keepdims=True))
        mixed = np.einsum("tsn,snh->tnh", weights / weights.sum(1, keepdims=True), v)
        assert_close(y[row][real], np.einsum("tnh,nhd->td", mixed, p["o"]["kernel"]) + p["o"]["bias"])


def rolled(x, grid, shift):
    return np.roll(np.asarray(x).reshape(B, *grid, D), shift, axis=(1, 2))


@pytest.mark.parametrize("padding", ["before_shift", "after_shift"])
def test_zeros_that_take_part_are_a_larger_image(padding):
    """The same as an image with rows and columns of zeros, shifted itself where that comes first."""
    shift, whole = (0, 1), (6, 8)
    mixer, params, x = made(shift=shift, padding=padding)
    first = tuple(-s for s in shift) if padding == "after_shift" else (0, 0)
    larger = np.pad(rolled(x, GRID, first), ((0, 0), (0, 1), (0, 2), (0, 0)))
    back = tuple(-s for s in first)
    larger = np.roll(larger, back, axis=(1, 2)).reshape(B, 48, D)  # which the shift of the larger image undoes
    y = rolled(run(made(whole, shift=shift)[0], params, larger, Context(grid=whole))[0], whole, first)
    expected = np.roll(y[:, : GRID[0], : GRID[1]], back, axis=(1, 2)).reshape(B, T, D)
    mine = run(mixer, params, x, Context(grid=GRID))[0]
    assert_close(mine, expected)
    assert np.abs(mine - run(made(shift=shift)[0], params, x, Context(grid=GRID))[0]).max() > 0.1


@pytest.mark.parametrize("padding", ["before_shift", "after_shift"])
def test_padding_of_the_row_never_takes_part(padding):
    mixer, params, x = made(shift=(0, 1), padding=padding)
    segments = np.array([[1] * T, [1] * 20 + [0] * 10])
    ctx = Context(grid=GRID, segments=segments)
    one, other = (run(mixer, params, jnp.where(segments[..., None] > 0, x, a), ctx)[0] for a in (jnp.nan, 3.0))
    np.testing.assert_array_equal(one[segments > 0], other[segments > 0])
    whole = run(mixer, params, x, Context(grid=GRID))[0]
    assert_close(one[0], whole[0])


@pytest.mark.parametrize(
    "fit,grid,size,shift",
    [
        ("axis", (3, 9), (3, 4), (0, 2)),
        ("square", (3, 9), (3, 3), (0, 0)),
        ("square", (4, 9), (4, 4), (0, 0)),
        ("square", (5, 9), (4, 4), (2, 2)),
        ("never", (3, 9), (4, 4), (2, 2)),
    ],
)
def test_windows_are_fitted_to_small_grids(fit, grid, size, shift):
    mixer = build(SLOTS["mixer"], dict(kind="windowed", mixer=MIXER, window=4, shift=2, fit=fit))
    assert mixer.windows(grid[0] * grid[1], grid) == Windows(grid, size, shift)


def test_a_window_that_covers_the_grid_is_the_mixer_alone():
    mixer, params, x = made(window=7, shift=3, mixer=dict(MIXER, position=dict(kind="relative_grid", size=7)))
    alone = build(SLOTS["mixer"], mixer.mixer)
    ctx = Context(grid=GRID)
    assert_close(run(mixer, params, x, ctx)[0], run(alone, {"params": params["params"]["mixer"]}, x, ctx)[0])


def test_a_table_of_offsets_serves_smaller_grids():
    """Its middle: offsets (dy, dx) read the same entries whatever the grid."""
    position = build(SLOTS["position"], dict(kind="relative_grid", size=(3, 4)))
    table = np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32)
    for h, w in ((3, 4), (2, 3), (1, 4)):
        bias = position.apply({"params": {"table": table}}, 2, Context(grid=(h, w)), method="bias")
        cell = np.stack(np.divmod(np.arange(h * w), w), axis=1)
        offset = cell[:, None] - cell[None] + np.array([2, 3])
        for head in range(2):
            every = jnp.arange(h * w)
            assert_close(bias.block(0, head, every, every), table[offset[..., 0], offset[..., 1], head], rtol=0)


@pytest.mark.parametrize(
    "changes,ctx,said",
    [
        (dict(), dict(grid=(5, 5)), r"the grid is \(5, 5\), and the row has 30 tokens; embed images, with embed.cls=0"),
        (dict(shift=(0, 4)), dict(grid=GRID), r"by less than their size; \(0, 4\) is not less than \(2, 4\)"),
        (
            dict(mixer=dict(kind="attention", heads=2, memory="text")),
            dict(grid=GRID),
            "with memory='text' reads others",
        ),
        (dict(window=3), dict(grid=GRID), "offsets within a grid of 2 x 4, and the attention has 3 x 3; set position"),
    ],
)
def test_what_does_not_fit_is_refused(changes, ctx, said):
    mixer = build(SLOTS["mixer"], dict(kind="windowed", mixer=MIXER, window=(2, 4)) | changes)
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(mixer.init, jax.random.key(0), jnp.zeros((B, T, D)), Context(**ctx))
