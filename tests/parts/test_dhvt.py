"""The mixers of DHVT: head tokens, and the MLP whose mean over patches scales the class token."""

import jax
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from tests.parts import grids, sequences
from tests.parts.sequences import linear
from tests.parts.within import ACTIVATIONS
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import SpecError, build

B, D, GRID = 2, 16, (2, 3)
T = 1 + GRID[0] * GRID[1]
PADDED = np.array([[1] * T, [2] * (T - 2) + [0] * 2])
padded = pytest.mark.parametrize("segments", [None, PADDED], ids=["whole", "padded"])
gelu = ACTIVATIONS["gelu"]


def made(segments, **spec):
    """What the mixer makes of a stream, the stream with zeros in padding, its parameters, and which tokens are real."""
    mixer, ctx = build(SLOTS["mixer"], spec), Context(grid=GRID, segments=segments)
    x = np.random.default_rng(0).standard_normal((B, T, D), np.float32)
    params = noise(shapes(mixer, x, ctx), 0.5)
    real = np.ones((B, T), bool) if segments is None else segments > 0
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    return np.asarray(run(mixer, params, x, ctx)[0]), np.where(real[..., None], x, 0.0), p, real


@padded
def test_head_tokens_are_further_keys_and_queries(segments):
    N, M = 4, 2
    spec = dict(kind="head_tokens", heads=N, mixer=dict(kind="attention", heads=M))
    y, x, p, real = made(segments, **spec)
    heads = np.zeros((B, N, D))
    for b, n in np.ndindex(B, N):
        mean = x[b, real[b], n * D // N : (n + 1) * D // N].mean(0)
        h = linear(p["out"], mean)
        h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)
        heads[b, n] = gelu(h * p["norm"]["scale"] + p["norm"]["bias"]).reshape(-1) + p["point"][n]
    whole, visible = np.concatenate([x, heads], axis=1), np.concatenate([real, np.ones((B, N), bool)], axis=1)
    q, k, v = (linear(p["mixer"][name], whole) for name in "qkv")
    out = linear(p["mixer"]["o"], sequences.attend(q, k, v, visible[:, None, None], (D // M) ** -0.5), 2)
    expected = out[:, :T]
    expected[:, 0] += out[:, T:].mean(1)
    assert_close(y[real], expected[real])


@padded
def test_the_mean_over_patches_scales_the_first_token(segments):
    norm = dict(kind="layernorm")
    y, x, p, real = made(segments, kind="aggregated_mlp", hidden=12, inner=5, norm=norm)

    def normed(name, a):
        a = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6)
        return a * p[name]["scale"] + p[name]["bias"]

    ctx = Context(grid=GRID, segments=None if segments is None else segments[:, 1:])
    h = gelu(normed("up_norm", linear(p["up"], x[:, 1:])))
    h = h + gelu(normed("conv_norm", grids.depthwise(p["conv"], h, ctx, 3)))
    patches = normed("down_norm", linear(p["down"], h))
    mean = np.stack([a[own].mean(0) for a, own in zip(patches, real[:, 1:], strict=True)])
    first = x[:, 0] * linear(p["excite"], gelu(linear(p["squeeze"], mean)))
    assert_close(y[real], np.concatenate([first[:, None], patches], axis=1)[real])


def test_patches_alone_are_refused():
    mixer = build(SLOTS["mixer"], dict(kind="aggregated_mlp", hidden=12, inner=5))
    with pytest.raises(SpecError, match="scales the tokens before the patches, and all 6 are patches; set embed.cls=1"):
        shapes(mixer, np.zeros((B, T - 1, D), np.float32), Context(grid=GRID))


def test_heads_divide_the_width():
    mixer = build(SLOTS["mixer"], dict(kind="head_tokens", heads=3, mixer=dict(kind="attention", heads=2)))
    with pytest.raises(SpecError, match="a width of 16 does not divide among 3 heads; set heads"):
        shapes(mixer, np.zeros((B, T, D), np.float32), Context(grid=GRID))
