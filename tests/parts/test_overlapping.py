"""Overlapping attention without overlap is attention within windows; long residual connections; enlarging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import noise, run, shapes
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.parts.head.upsampled import steps
from xfm.parts.mixer.overlapping import around
from xfm.parts.mixer.windowed import Windows
from xfm.spec import SpecError, build

D, GRID = 16, (4, 6)


def made(**fields):
    mixer = build(SLOTS["mixer"], fields)
    x = np.random.default_rng(0).standard_normal((2, 24, D), np.float32)
    return mixer, noise(shapes(mixer, x, Context(grid=GRID)), 0.5), x


def test_without_overlap_it_is_attention_within_windows():
    mixer, params, x = made(kind="overlapping", heads=2, window=(2, 3), reach=0)
    inner = dict(kind="attention", heads=2, position=dict(kind="relative_grid", size=(2, 3)))
    windowed = build(SLOTS["mixer"], dict(kind="windowed", mixer=inner, window=(2, 3)))
    same = dict(params["params"])
    own = {"mixer": {"position": {"table": same.pop("table")}, **same}}
    ctx = Context(grid=GRID)
    assert_close(run(mixer, params, x, ctx)[0], run(windowed, {"params": own}, x, ctx)[0])


def test_larger_windows_hold_what_is_around_them():
    x = jnp.arange(1, 25).reshape(1, 24)
    found = np.asarray(around(x, Windows(GRID, (2, 3), (0, 0)), (1, 1))).reshape(4, 4, 5)
    assert found[0].tolist() == [[0] * 5, [0, 1, 2, 3, 4], [0, 7, 8, 9, 10], [0, 13, 14, 15, 16]]
    assert found[3].tolist() == [[9, 10, 11, 12, 0], [15, 16, 17, 18, 0], [21, 22, 23, 24, 0], [0] * 5]


@pytest.mark.parametrize(
    "fields,grid,message",
    [
        (dict(heads=2), (5, 5), "needs the tokens of a grid of rows and columns and no others; the grid is .5, 5."),
        (dict(heads=3), GRID, "a width of 16 does not divide among 3 heads"),
    ],
)
def test_what_does_not_fit_is_refused(fields, grid, message):
    mixer = build(SLOTS["mixer"], dict(kind="overlapping", window=2, reach=1) | fields)
    with pytest.raises(SpecError, match=message):
        jax.eval_shape(lambda: mixer.init(jax.random.key(0), jnp.zeros((1, 24, D)), Context(grid=grid)))


def test_even_convolutions_are_refused():
    mixer = build(SLOTS["mixer"], dict(kind="channel_attention", size=(3, 2), hidden=2, inner=2))
    with pytest.raises(SpecError, match="mixer 'channel_attention' reads an odd number of rows and columns"):
        jax.eval_shape(lambda: mixer.init(jax.random.key(0), jnp.zeros((1, 24, D)), Context(grid=GRID)))


def test_long_residual_connections_in_a_stack():
    """A period of doublings ends in the stream before it plus three times the last one; all ends in the embedding."""
    double = dict(part=dict(kind="identity"))
    last = dict(part=dict(kind="identity"), residual=dict(kind="long"))
    whole = dict(part=dict(kind="identity"), residual=dict(kind="long", start="embedded"))
    spec = dict(
        kind="stack", embed=dict(kind="tokens", vocab=5, width=4), prologue=[double], pattern=[double, double, last],
        repeats=2, epilogue=[double, whole],
    )  # fmt: skip
    model, batch = xfm.build(spec), {"tokens": jnp.array([[1, 4]])}
    params = noise(shapes(model, batch), 1.0)
    embedded = params["params"]["embed"]["word"]["embedding"][batch["tokens"]]
    # 2 before the periods; each makes 5 of 1, four times the stream and the stream; 2 after them; 1 for the embedding.
    assert_close(run(model, params, batch)["hidden"], embedded * (2 * 5 * 5 * 2 + 1))
    alone = build(SLOTS["residual"], dict(kind="long"))
    with pytest.raises(SpecError, match="residual 'long' with start='period' stands in the layers of a stack"):
        alone.apply({}, jnp.zeros((1, 2, 4)), jnp.zeros((1, 2, 4)), Context())


def test_images_are_enlarged_by_twos_or_by_three():
    assert [steps(factor) for factor in (1, 2, 3, 8)] == [[], [2], [3], [2, 2, 2]]
    with pytest.raises(SpecError, match="enlarges by 3 or by a power of 2, not by 6"):
        steps(6)
