"""Groups of tokens that lie apart on a grid: divided and joined, each mixed alone, with a bias of offsets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.parts.mixer.strided import Lattices
from xfm.spec import SpecError, build

B, D, GRID = 2, 16, (5, 8)
T = GRID[0] * GRID[1]
MIXER = dict(kind="attention", heads=2, position=dict(kind="dynamic_grid", hidden=4))
SPEC = dict(kind="strided", mixer=MIXER, size=(2, 3), interval=(2, 3))
MORE = np.array([[1] * T, [2] * (T - 9) + [0] * 9])


def made(**changes):
    """A mixer over groups, parameters away from their start, and a stream."""
    mixer = build(SLOTS["mixer"], SPEC | changes)
    x = np.random.default_rng(0).standard_normal((B, T, D), np.float32)
    return mixer, noise(shapes(mixer, x, Context(grid=GRID)), 0.5), x


def test_join_undoes_cut():
    x = jnp.arange(2 * 35 * 3).reshape(2, 35, 3)
    for size, interval in (((2, 3), (2, 1)), ((5, 2), (1, 3)), ((1, 1), (4, 4))):
        groups = Lattices((5, 7), size, interval)
        assert (groups.join(groups.cut(x)) == x).all()
    tokens = Lattices((4, 4), (2, 2), (2, 2)).cut(jnp.arange(16).reshape(1, 16))
    assert tokens.tolist() == [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]]


@pytest.mark.parametrize("segments", [None, MORE], ids=["whole", "padded"])
def test_a_token_sees_its_group_and_no_more(segments):
    """Token by token: two tokens meet in one region where their rows and columns leave the same rest.

    The regions of 4 x 9 tokens do not fill the grid. The bias is a lookup table of the offsets in units of intervals,
    filled by the network of "dynamic_grid" offset by offset.
    """
    mixer, params, x = made()
    y = np.asarray(run(mixer, params, x, Context(grid=GRID, segments=segments))[0])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"]["mixer"])
    cell, size, interval = np.stack(np.divmod(np.arange(T), GRID[1]), axis=1), np.array([2, 3]), np.array([2, 3])
    group = np.concatenate([cell // (size * interval), cell % interval], axis=1)
    together = (group[:, None] == group[None]).all(-1)
    inside = cell % (size * interval) // interval
    table = np.array([[offset_bias(p["position"], (i, j)) for j in range(-2, 3)] for i in range(-1, 2)])
    offset = inside[:, None] - inside[None] + np.array([1, 2])
    for row in range(B):
        a, own = np.asarray(x[row], np.float64), np.ones(T, int) if segments is None else segments[row]
        q, k, v = (np.einsum("td,dnh->tnh", a, p[n]["kernel"]) + p[n]["bias"] for n in "qkv")
        scores = np.einsum("tnh,snh->tsn", q, k) / np.sqrt(8) + table[offset[..., 0], offset[..., 1]]
        scores[~(together & (own > 0)[None])] = -np.inf
        real = own > 0
        weights = np.exp(scores[real] - scores[real].max(1, keepdims=True))
        mixed = np.einsum("tsn,snh->tnh", weights / weights.sum(1, keepdims=True), v)
        assert_close(y[row][real], np.einsum("tnh,nhd->td", mixed, p["o"]["kernel"]) + p["o"]["bias"])


def offset_bias(p, offset):
    y = np.array(offset) @ p["up"]["kernel"] + p["up"]["bias"]
    for i, name in enumerate(("map_0", "map_1", "down")):
        centred, own = y - y.mean(), p[f"norm_{i}"]
        y = np.maximum(centred / np.sqrt(np.square(centred).mean() + 1e-6) * own["scale"] + own["bias"], 0)
        y = y @ p[name]["kernel"] + p[name]["bias"]
    return y


def test_an_interval_of_one_is_windows_without_shift():
    mixer, params, x = made(interval=1)
    windowed = build(SLOTS["mixer"], dict(kind="windowed", mixer=MIXER, window=(2, 3)))
    ctx = Context(grid=GRID)
    assert_close(run(mixer, params, x, ctx)[0], run(windowed, params, x, ctx)[0], rtol=0)


def test_a_group_that_covers_an_axis_has_its_tokens():
    mixer = build(SLOTS["mixer"], SPEC | dict(size=7, interval=4))
    assert mixer.groups(49, (7, 7)) == Lattices((7, 7), (7, 7), (1, 1))
    assert mixer.groups(30, (3, 10)) == Lattices((3, 10), (3, 7), (1, 4))


@pytest.mark.parametrize(
    "changes,ctx,said",
    [
        (dict(), dict(grid=(5, 5)), r"'strided' needs .*grid is \(5, 5\), and the row has 40 tokens; embed images"),
        (dict(mixer=dict(kind="attention", heads=2, memory="text")), dict(grid=GRID), "memory='text' reads others"),
    ],
)
def test_what_does_not_fit_is_refused(changes, ctx, said):
    mixer = build(SLOTS["mixer"], SPEC | changes)
    with pytest.raises(SpecError, match=said):
        jax.eval_shape(mixer.init, jax.random.key(0), jnp.zeros((B, T, D)), Context(**ctx))
