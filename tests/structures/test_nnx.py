"""A network of xfm as an NNX module: `flax.nnx.bridge.ToNNX` gives the outputs and gradients of Linen's `apply`."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict

from xfm.structures import build

SPEC = dict(
    kind="stack",
    embed=dict(kind="tokens", vocab=11, width=16, position=dict(kind="learned", length=8)),
    pattern=[dict(kind="attention", heads=2), dict(kind="mlp", hidden=24)],
    repeats=2,
    norms={"in": dict(kind="layernorm")},
    residual=dict(kind="plain", drop=0.1),
    heads=dict(label=dict(kind="classification", classes=3, pool=dict(kind="mean"))),
)
BATCH = dict(tokens=jnp.arange(12).reshape(2, 6) % 11, segments=jnp.array([[1, 1, 1, 1, 2, 2], [1, 1, 1, 0, 0, 0]]))


def test_nnx_gives_the_outputs_and_gradients_of_linen():
    """The parameters of the scanned layers included, under the paths that Linen gives them, and in training mode."""
    model = build(SPEC)
    wrapped = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(params=0, dropout=1)).lazy_init(BATCH)
    graph, state = nnx.split(wrapped)
    params = nnx.to_pure_dict(nnx.state(wrapped, nnx.Param))
    drawn = jax.eval_shape(model.init, jax.random.key(0), BATCH)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, drawn)

    def of_linen(params, batch):
        out = model.apply({"params": params}, batch)
        return (out["label"] ** 2).sum() + out["hidden"].sum(), out

    @jax.jit
    def both(params, state, batch):
        def of_nnx(wrapped):
            out = wrapped(batch)
            return (out["label"] ** 2).sum() + out["hidden"].sum(), out

        grads, out = nnx.grad(of_nnx, has_aux=True)(nnx.merge(graph, state))
        return out, nnx.to_pure_dict(grads), jax.grad(of_linen, has_aux=True)(params, batch)

    out, grads, (linen_grads, linen_out) = both(params, state, BATCH)
    jax.tree.map(np.testing.assert_array_equal, out, linen_out)
    found, expected = flatten_dict(grads, sep="/"), flatten_dict(linen_grads, sep="/")
    assert found.keys() == expected.keys() and "layers/attention_0/part/q/kernel" in found
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, rtol=1e-6, atol=1e-6, err_msg=path)
    assert all(np.abs(leaf).max() > 0 for path, leaf in found.items() if path.endswith("kernel"))
