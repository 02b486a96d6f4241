"""Attention over a grid and along its axes: token by token, and the decay by Manhattan distance."""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from tests.parts import grids
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, D, N, GRID = 2, 16, 2, (3, 5)
T = GRID[0] * GRID[1]
PADDED = np.array([[1] * T, [2] * (T - 7) + [0] * 7])
GAMMA = 1 - 2.0 ** -(2.0 + 4.0 * np.arange(N) / N)


def made(**changes):
    """The mixer, parameters away from their start, and a stream."""
    mixer = build(SLOTS["mixer"], dict(kind="manhattan", heads=N, size=3) | changes)
    x = np.random.default_rng(0).standard_normal((B, T, D), np.float32)
    return mixer, noise(shapes(mixer, x, Context(grid=GRID)), 0.5), x


def mixed(scores, visible, v):
    """The means of v [T N H] by the softmax of scores [N T T] over what is visible."""
    weights = np.where(visible, np.exp(scores), 0)
    return np.einsum("nts,snh->tnh", weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30), v)


@pytest.mark.parametrize("segments", [None, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("along", ["grid", "axes"])
def test_a_token_meets_its_row_and_then_its_column(along, segments):
    """The decay of all steps over the grid is the product of those along the axes."""
    mixer, params, x = made(along=along)
    ctx = Context(grid=GRID, segments=segments)
    y = np.asarray(run(mixer, params, x, ctx)[0])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    row, column = np.divmod(np.arange(T), GRID[1])
    down, across = (np.abs(a[:, None] - a[None]) for a in (row, column))
    v = np.einsum("btd,dnh->btnh", x, p["v"]["kernel"]) + p["v"]["bias"]
    local = grids.depthwise(p["conv"], v.reshape(B, T, D), ctx, 3).reshape(v.shape)
    for b in range(B):
        own = np.ones(T, int) if segments is None else segments[b]
        q, k = (np.einsum("td,dnh->tnh", x[b], p[name]["kernel"]) + p[name]["bias"] for name in "qk")
        scores = np.einsum("tnh,snh->nts", q, k) / np.sqrt(D // N)
        decays = [np.log(GAMMA[:, None, None] ** steps) for steps in (across, down)]
        real = (own > 0)[None]
        if along == "grid":
            u = mixed(scores + decays[0] + decays[1], real, v[b])
        else:
            u = mixed(scores + decays[0], real & (down == 0), v[b])
            u = mixed(scores + decays[1], real & (across == 0), u)
        expected = np.einsum("tnh,nhd->td", u + local[b], p["o"]["kernel"]) + p["o"]["bias"]
        assert_close(y[b][own > 0], expected[own > 0])


def test_without_decay_and_convolution_it_is_attention():
    mixer, params, x = made(position=dict(kind="none"))
    attention, own = build(SLOTS["mixer"], dict(kind="attention", heads=N)), dict(params["params"])
    own["conv"] = jax.tree.map(np.zeros_like, own["conv"])
    plain = {name: own[name] for name in "qkvo"}
    ctx = Context(grid=GRID)
    assert_close(run(mixer, {"params": own}, x, ctx)[0], run(attention, {"params": plain}, x, ctx)[0])


def test_one_bias_at_most_is_joined():
    spec = dict(kind="joined", positions=[dict(kind="alibi"), dict(kind="grid_decay")])
    mixer = build(SLOTS["mixer"], dict(kind="manhattan", heads=N, position=spec))
    with pytest.raises(SpecError, match="several biases among 'alibi' and 'grid_decay'; leave all but one out"):
        shapes(mixer, np.zeros((B, T, D), np.float32), Context(grid=GRID))


def test_heads_divide_the_width():
    mixer = build(SLOTS["mixer"], dict(kind="manhattan", heads=3))
    with pytest.raises(SpecError, match=f"a width of {D} does not divide among 3 heads; set heads"):
        shapes(mixer, np.zeros((B, T, D), np.float32), Context(grid=GRID))
