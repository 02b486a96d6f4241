"""Attention to a coarser grid, token by token; and what its parts refuse. Takes three seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from tests.parts.sequences import linear
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, D, GRID = 2, 16, (5, 6)
T = GRID[0] * GRID[1]
MIXER = dict(kind="attention", heads=2, memory="reduced")
DOWN = dict(kind="strided_conv", width=16, stride=(2, 3), rest="drop", out_norm=dict(kind="layernorm"))


def made(**changes):
    mixer = build(SLOTS["mixer"], dict(kind="reduced", mixer=MIXER, down=DOWN) | changes)
    x = np.random.default_rng(0).standard_normal((B, T, D), np.float32)
    return mixer, noise(shapes(mixer, x, Context(grid=GRID)), 0.5), x


@pytest.mark.parametrize("padding", [0, 9], ids=["whole", "padded"])
def test_tokens_attend_to_tiles(padding):
    """Of 2 x 3 tokens; the last of five rows is in no tile and asks all the same, and tiles of padding alone are not
    attended to.
    """
    mixer, params, x = made()
    segments = np.array([[1] * T, [2] * (T - padding) + [0] * padding])
    ctx = Context(grid=GRID, segments=segments if padding else None)
    y = np.asarray(run(mixer, params, x, ctx)[0])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    conv, norm, own = p["down"]["conv"], p["down"]["out_norm"], p["mixer"]
    for row in range(B):
        real = segments[row] > 0
        a = np.where(real[:, None], x[row], 0.0).astype(np.float64)
        tiles, held = a.reshape(*GRID, D)[:4].reshape(2, 2, 2, 3, D), real.reshape(GRID)[:4].reshape(2, 2, 2, 3)
        coarse = np.einsum("iajbd,abde->ije", tiles, conv["kernel"]) + conv["bias"]
        coarse = coarse - coarse.mean(-1, keepdims=True)
        coarse = coarse / np.sqrt((coarse**2).mean(-1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
        coarse = coarse.reshape(4, D)[held.any((1, 3)).reshape(4)]
        q, k, v = (linear(own[name], of) for name, of in (("q", a), ("k", coarse), ("v", coarse)))
        scores = np.exp(np.einsum("tnh,snh->tns", q, k) / np.sqrt(8))
        mixed = np.einsum("tns,snh->tnh", scores / scores.sum(-1, keepdims=True), v)
        assert_close(y[row][real], linear(own["o"], mixed, 2)[real])


def test_the_number_of_keys_of_the_linear_variant_is_fixed():
    """Seven by seven, whatever the grid (Wang et al. 2022, section 3.2.1)."""
    down = build(SLOTS["down"], dict(kind="pool_to", size=7))
    for grid in ((56, 56), (20, 33), (7, 7), (5, 40)):
        x = jnp.zeros((1, grid[0] * grid[1], 4))
        y, _ = jax.eval_shape(down.init_with_output, jax.random.key(0), x, Context(grid=grid))
        assert y[0].shape == (1, 49, 4)


def test_an_attention_to_another_memory_is_refused():
    mixer = build(SLOTS["mixer"], dict(kind="reduced", mixer=dict(kind="attention", heads=2), down=DOWN))
    with pytest.raises(SpecError, match="set mixer.memory='reduced'"):
        jax.eval_shape(mixer.init, jax.random.key(0), jnp.zeros((B, T, D)), Context(grid=GRID))
