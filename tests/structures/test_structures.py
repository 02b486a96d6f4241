"""What every structure owes, whatever its layers: gradients, the dtype asked for, recomputation, and dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.drawn import drawn
from tests.keys import key as hashed
from tests.structures.examples import EMBED, NETWORKS, batch_of, outputs, spec_of
from xfm.paths import flatten
from xfm.structures import STRUCTURES

NORM = dict(kind="layernorm")
BATCH = {"tokens": np.arange(16).reshape(2, 8) % 7, "types": np.arange(16).reshape(2, 8) % 3}


def network(kind, **fields):
    """The example of a kind, with norms, and a head over what it returns."""
    assert kind in NETWORKS, f"structure {kind!r} has no example in tests/structures/examples.py"
    head = dict(kind="classification", classes=3, pool=dict(kind="mean"))
    return xfm.build(spec_of(kind, **dict(embed=EMBED, norms={"in": NORM}, heads=dict(label=head)) | fields))


def hidden(out):
    return jnp.concatenate(outputs(out, "hidden"))


def gradients(model, variables, batch):
    @jax.jit
    @jax.grad
    def gradient(params):
        found = outputs(model.apply({"params": params}, batch), "label", "patches", "finer", "losses", "similarity")
        return sum((jnp.cos(jnp.arange(float(y.size))).reshape(y.shape) * y).sum() for y in found)

    return flatten(gradient(variables["params"]))


@pytest.mark.parametrize("kind", STRUCTURES)
def test_every_parameter_has_a_gradient_which_recomputation_keeps(kind):
    model = network(kind)
    batch = batch_of(kind, BATCH)
    variables = drawn(model, batch)
    found = gradients(model, variables, batch)
    for path, leaf in found.items():
        if not path.endswith("/k/bias"):  # a softmax does not change by what is added to all scores
            assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path
    again = gradients(network(kind, remat="full"), variables, batch)
    for path, leaf in found.items():
        np.testing.assert_allclose(again[path], leaf, rtol=1e-5, atol=1e-6 * (1 + np.abs(leaf).max()), err_msg=path)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_parts_compute_in_the_dtype_that_is_asked_for(kind):
    model = network(kind, dtype="bfloat16")
    batch = batch_of(kind, BATCH)
    params = jax.eval_shape(model.init, jax.random.key(0), batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out = jax.eval_shape(model.apply, params, batch)
    assert {x.dtype for x in outputs(out, "hidden")} == {jnp.dtype("bfloat16")}, kind


@pytest.mark.parametrize("kind", STRUCTURES)
def test_without_training_the_answer_is_the_same_whatever_drops(kind):
    """And in training it is not: what drops is on, and one key gives one answer."""
    model = network(kind, residual=dict(kind="plain", drop=0.5))
    batch = batch_of(kind, BATCH)
    variables = drawn(model, batch)

    @jax.jit
    def run(seed):
        return hidden(model.apply(variables, batch, train=True, rngs={"dropout": hashed(seed)}))

    still, plain = jax.jit(lambda v: [hidden(net.apply(v, batch)) for net in (model, network(kind))])(variables)
    first, again, other = (np.asarray(run(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.allclose(first, other) and not np.allclose(first, still)
    assert np.array_equal(still, plain)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_no_method_has_the_name_of_a_parameter(kind):
    """NNX's bridge takes an attribute of the module that can be called for its parameters of that name."""
    model = network(kind)
    for name in jax.eval_shape(model.init, jax.random.key(0), batch_of(kind, BATCH))["params"]:
        assert not callable(getattr(model, name, None)), f"{type(model).__name__}.{name}"
