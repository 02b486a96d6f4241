"""The state space of two dimensions: its recurrence, its corners and what it says does not fit."""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import away, run, shapes
from tests.parts.within import value
from xfm.context import Context
from xfm.kernels.attention import Mask
from xfm.parts import SLOTS
from xfm.parts.mixer.state_space_2d import convolved, kernels, responses
from xfm.spec import SpecError, build

GRID, D, K, N = (3, 4), 6, 2, 3
rng = np.random.default_rng(0)


def test_a_convolution_by_fft_is_the_recurrence():
    """Without averages, for any input, from two corners: cell by cell, as Roesser's equations are written."""
    A, B = (rng.uniform(0.2, 0.7, (n, K, N)) for n in (4, 2))
    C, x = rng.standard_normal((2, 2, D, N)), rng.standard_normal((2, *GRID, D))
    ones = np.ones(GRID, np.float32)
    found = jax.jit(lambda A, B, C, x: convolved(x, kernels(responses(A, B, ones, ones), C)))(
        *(np.float32(a) for a in (A, B, C, x))
    )

    def recurrence(u, C):
        A_, B_ = (np.stack([a[:, d % K] for d in range(D)], 1) for a in (A, B))  # of each channel
        across, down = np.zeros((2, len(u), GRID[0] + 1, GRID[1] + 1, D, N))
        y = np.zeros(u.shape)
        for i, j in np.ndindex(GRID):
            left, above, here = (i + 1, j), (i, j + 1), (i + 1, j + 1)
            own = u[:, i, j, :, None]
            across[:, *here] = A_[0] * across[:, *left] + A_[1] * down[:, *left] + B_[0] * own
            down[:, *here] = A_[2] * across[:, *above] + A_[3] * down[:, *above] + B_[1] * own
            y[:, i, j] = np.einsum("bdn,dn->bd", across[:, *here], C[0]) + np.einsum("bdn,dn->bd", down[:, *here], C[1])
        return y / np.sqrt(N)

    flip = lambda a: a[:, ::-1, ::-1]  # noqa: E731
    assert_close(found, recurrence(x, C[:, 0]) + flip(recurrence(flip(x), C[:, 1])))


@pytest.mark.parametrize("directions", [2, 4])
def test_on_a_grid_after_a_class_token(directions):
    """Equal to the formula in loops; the class token stays as it is, and a grid that is turned gives another answer."""
    spec = dict(kind="state_space_2d", states=N, systems=K, directions=directions)
    mixer, ctx = build(SLOTS["mixer"], spec), Context(grid=GRID)
    x = rng.standard_normal((2, 13, D), np.float32)
    params = away(shapes(mixer, x, ctx))
    y, p = run(mixer, params, x, ctx)[0], jax.tree.map(np.float64, params["params"])
    assert_close(y, value("mixer", spec, p, x.astype(np.float64), ctx))
    assert_close(y[:, :1], x[:, :1], rtol=0)
    order = np.r_[0, 1 + rng.permutation(12)]
    assert np.abs(run(mixer, params, x[:, order], ctx)[0] - y[:, order]).max() > 0.1


def test_what_does_not_fit_is_refused():
    mixer, x = build(SLOTS["mixer"], dict(kind="state_space_2d", systems=3)), np.zeros((2, 13, 16))
    with pytest.raises(SpecError, match="a width of 16 does not divide among 3 systems; set systems"):
        shapes(mixer, x, Context())
    with pytest.raises(SpecError, match="reads whole segments and cannot be causal"):
        shapes(mixer, x, Context(mask=Mask.causal()))
