"""SLAB's identities: what its norm is at both ends, in training too, and that its attention is a product of scores.

Takes four seconds.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.close import assert_close
from tests.drawn import drawn, run
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import build

T, D = 12, 16
X = np.random.default_rng(0).normal(0.5, 2.0, (3, T, D)).astype(np.float32)


def test_progressive_norm_at_both_ends():
    """With a share of 1 it is layer normalisation, with 0 batch normalisation and skip · x; it falls by 1/steps."""
    norm = build(SLOTS["norm"], dict(kind="progressive", steps=4))
    params = drawn(norm, X, by=0.3)["params"]
    layer, batch = (build(SLOTS["norm"], dict(kind=kind)) for kind in ("layernorm", "batchnorm"))

    @jax.jit
    def both(share):
        own = {**params, "share": share}
        alone = norm.apply({"params": own}, X)
        trained, sown = norm.apply({"params": own}, X, mutable=["statistics"])
        return alone, trained, sown["statistics"]["share"][0]

    expected = layer.apply({"params": params["layer"]}, X)
    rest = batch.apply({"params": params["batch"]}, X) + params["skip"] * X
    seen, _ = batch.apply({"params": params["batch"]}, X, mutable=["statistics"])
    (one, _, less), (none, trained, least) = both(jnp.float32(1.0)), both(jnp.float32(0.0))
    assert_close((one, none, trained), (expected, rest, seen + params["skip"] * X))
    assert (float(less), float(least)) == (0.75, 0.0)
    assert_close(both(jnp.float32(0.25))[0], 0.25 * expected + 0.75 * rest)


def test_batch_normalisation_and_its_skip_fold_into_the_next_map():
    """What inference may do once the share is 0: W' = W diag(scale / deviation + skip), b' likewise."""
    norm = build(SLOTS["norm"], dict(kind="progressive", steps=4))
    p = jax.tree.map(lambda a: np.abs(np.asarray(a, np.float64)) + 0.1, drawn(norm, X, by=0.3)["params"])
    W = np.random.default_rng(1).standard_normal((D, 5))
    own = jax.tree.map(np.float32, {**p, "share": 0.0})
    y = np.asarray(run(norm, {"params": own}, X), np.float64) @ W
    gain = p["batch"]["scale"] / np.sqrt(p["batch"]["variance"] + 1e-5)
    folded, bias = (gain + p["skip"])[:, None] * W, (p["batch"]["bias"] - gain * p["batch"]["mean"]) @ W
    assert_close(y, X @ folded + bias)


def test_relu_attention_is_a_product_of_scores_and_a_convolution_of_each_head():
    """The quadratic form, in NumPy; padding is in neither."""
    spec = dict(kind="relu_attention", heads=2, position=dict(kind="learned_grid", size=(3, 4), first=0), size=3)
    mixer, grid = build(SLOTS["mixer"], spec), (3, 4)
    segments = np.array([[1] * T, [1] * 8 + [0] * 4, [0] * 3 + [1] * 9])
    params = drawn(mixer, X, Context(grid=grid), by=0.3)
    y = np.asarray(run(mixer, params, X, Context(grid=grid, segments=segments))[0])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    q, k, v = (np.tensordot(X, p[name]["kernel"], 1) + p[name]["bias"] for name in "qkv")
    k = k + p["position"]["table"].reshape(1, T, 2, 8)
    real = (segments > 0)[:, None, :, None]
    scores = np.einsum("btnh,bsnh->bnts", np.maximum(q, 0), np.maximum(k, 0)) * real.swapaxes(2, 3)
    mixed = np.einsum("bnts,bsnh->btnh", scores / (scores.sum(-1, keepdims=True) + 1e-6), v)
    around = np.pad((v * real[:, 0, :, :, None]).reshape(3, *grid, 2, 8), ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0)))
    kernel = p["conv"]["kernel"]
    local = sum(around[:, i : i + 3, j : j + 4] * kernel[i, j] for i in range(3) for j in range(3)) + p["conv"]["bias"]
    expected = np.tensordot(mixed + local.reshape(3, T, 2, 8), p["o"]["kernel"], 2) + p["o"]["bias"]
    kept = segments > 0
    assert_close(y[kept], expected[kept])
