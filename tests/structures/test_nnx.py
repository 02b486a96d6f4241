"""A network of xfm as an NNX module: `flax.nnx.bridge.ToNNX` gives the outputs and gradients of Linen's `apply`."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict

from xfm.structures import build

SPEC = dict(
    kind="stack",
    embed=dict(kind="tokens", vocab=11, width=16),
    pattern=[dict(kind="attention", heads=2), dict(kind="mlp", hidden=24)],
    repeats=2,
    residual=dict(kind="plain", drop=0.1),
    heads=dict(label=dict(kind="classification", classes=3, pool=dict(kind="mean"))),
)
BATCH = dict(tokens=jnp.arange(12).reshape(2, 6) % 11, segments=jnp.array([[1, 1, 1, 1, 2, 2], [1, 1, 1, 0, 0, 0]]))


def test_nnx_gives_the_outputs_and_gradients_of_linen():
    """In training, with dropout from NNX's stream, the scanned layers' parameters included; and in evaluation."""
    model = build(SPEC)
    wrapped = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)).lazy_init(BATCH)
    graph, state = nnx.split(wrapped)
    params = nnx.to_pure_dict(nnx.state(wrapped, nnx.Param))
    drawn = jax.eval_shape(model.init, jax.random.key(0), BATCH)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, drawn)

    def loss(out):
        return (out["label"] ** 2).sum() + (out["hidden"] ** 2).sum(), out

    @jax.jit
    def of_nnx(state, key):
        def trained(wrapped):
            return loss(wrapped(BATCH, train=True, rngs=nnx.Rngs(dropout=key)))

        grads, out = nnx.grad(trained, has_aux=True)(nnx.merge(graph, state))
        return out, nnx.to_pure_dict(grads), nnx.merge(graph, state)(BATCH)

    @jax.jit
    def of_linen(params, key):
        def trained(params):
            rngs = {"dropout": nnx.Rngs(dropout=key).dropout()}
            return loss(model.apply({"params": params}, BATCH, train=True, rngs=rngs))

        grads, out = jax.grad(trained, has_aux=True)(params)
        return out, grads, model.apply({"params": params}, BATCH)

    key = jax.random.key(5)
    (out, grads, still), expected = of_nnx(state, key), of_linen(params, key)
    jax.tree.map(np.testing.assert_array_equal, (out, still), (expected[0], expected[2]))
    found, linen = flatten_dict(grads, sep="/"), flatten_dict(expected[1], sep="/")
    assert found.keys() == linen.keys() and "layers/attention_0/part/q/kernel" in found
    for path, leaf in linen.items():
        np.testing.assert_allclose(found[path], leaf, rtol=1e-6, atol=1e-6, err_msg=path)
    assert all(np.abs(leaf).max() > 0 for path, leaf in found.items() if path.endswith("kernel"))
    assert np.abs(out["hidden"] - of_nnx(state, jax.random.key(6))[0]["hidden"]).max() > 0  # another key, other dropout
    assert np.abs(out["hidden"] - still["hidden"]).max() > 0
