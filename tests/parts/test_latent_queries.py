"""The head of EncT5 against its formula in float64, and that padding does not reach it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import drawn, run, shapes
from xfm.context import Context
from xfm.parts.head import HEADS
from xfm.spec import SpecError, build

B, T, D, N, H = 2, 7, 12, 3, 5
SPEC = dict(kind="latent_queries", heads=N, width=H, ffn=dict(kind="mlp", hidden=8, activation="relu", bias=False))
MIXER = dict(kind="attention", heads=N, width=H, bias=False, scale=1.0)


def bias(p):
    return p.get("bias", np.zeros((N, H)))


def formula(params, x, real, scale):
    """One row.  scale: of the scores of the queries with the tokens."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["params"])
    x = np.asarray(x, np.float64)[real]

    def norm(name, y):
        return y / np.sqrt(np.square(y).mean(-1, keepdims=True) + 1e-6) * p[name]["scale"]

    def read(p, y, x, scale=1.0):
        heads = []
        for n in range(N):
            q, k, v = (a @ p[name]["kernel"][:, n] + bias(p[name])[n] for a, name in ((y, "q"), (x, "k"), (x, "v")))
            weights = np.exp(scale * q @ k.T)
            heads.append(weights / weights.sum(-1, keepdims=True) @ v @ p["o"]["kernel"][n])
        return sum(heads) + p["o"].get("bias", 0.0)

    y = p["queries"]
    if "mixer" in p:
        h = norm("mixer_norm", y)
        y = y + read(p["mixer"], h, h)
    y = y + read(p, norm("cross_norm", y), x, scale)
    y = y + np.maximum(norm("ffn_norm", y) @ p["ffn"]["up"]["kernel"], 0) @ p["ffn"]["down"]["kernel"]
    return norm("norm", y) @ p["out"]["kernel"] + p["out"]["bias"]


@pytest.mark.parametrize("queries,classes,shape,more", [
    (1, 4, (4,), {}), (5, 1, (5,), dict(bias=True, scale=None)), (3, 2, (3, 2), dict(scale=0.3)),
])  # fmt: skip
@pytest.mark.parametrize("mixer", [None, MIXER])
def test_latent_queries_equal_their_formula(queries, classes, shape, more, mixer):
    spec = dict(SPEC, queries=queries, classes=classes, mixer=mixer, **more)
    scale = more.get("scale", 1.0) or H**-0.5
    x = jax.random.normal(jax.random.key(2), (B, T, D))
    segments = jnp.array([[1] * 4 + [0] * 3, [1] * T])
    ctx = Context.of({"segments": segments})
    head = build(HEADS, spec)
    params = drawn(head, x, ctx, by=0.3)
    y = run(head, params, x.at[0, 4:].set(jnp.nan), ctx)
    rows = zip(x, np.asarray(segments) > 0, strict=True)
    expected = [formula(params, row, real, scale).reshape(shape) for row, real in rows]
    assert_close(y, jnp.asarray(np.stack(expected), jnp.float32))


def test_one_layer_costs_what_the_formula_says():
    """Q D + 4 D N H + the feed-forward part + three norms + the last map."""
    x = jnp.zeros((1, 3, D))
    params = shapes(build(HEADS, dict(SPEC, classes=2)), x, Context())
    assert sum(a.size for a in jax.tree.leaves(params)) == D + 4 * D * N * H + 2 * D * 8 + 3 * D + 2 * D + 2


def test_a_width_that_does_not_divide():
    with pytest.raises(SpecError, match="12 does not divide among 5 heads"):
        shapes(build(HEADS, dict(SPEC, classes=2, heads=5, width=None)), jnp.zeros((1, 3, D)), Context())
