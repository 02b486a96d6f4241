"""TrAct: a first layer whose values are those of the plain one and whose gradient is whitened. Takes five seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.close import assert_close
from tests.drawn import noise, run, shapes
from xfm.spec import SpecError
from xfm.transforms import network
from xfm.transforms.tract import product

SPEC = dict(
    kind="stack", embed=dict(kind="patches", patch=2, width=6), pattern=[dict(kind="mlp", hidden=8)],
    heads=dict(label=dict(kind="classification", classes=3, pool=dict(kind="mean"))),
)  # fmt: skip
IMAGES = {"images": np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)}


def inverse(x, damping):
    x = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return np.linalg.inv(x.T @ x / len(x) + damping * np.eye(x.shape[1]))


def drawn(n=7, m=4):
    rng = np.random.default_rng(1)
    return (rng.normal(size=size).astype(np.float32) for size in ((3, 5, n), (n, m), (3, 5, m)))


def slopes(x, kernel, dy, damping):
    return jax.vjp(lambda x, k: product(x, k, damping), x, kernel)[1](dy)


@pytest.mark.parametrize("damping", [0.1, 3.0])
def test_the_gradient_is_the_plain_one_times_the_inverse(damping):
    x, kernel, dy = drawn()
    to_x, to_kernel = slopes(x, kernel, dy, damping)
    assert_close(product(x, kernel, damping), x @ kernel)
    assert_close(to_x, dy @ kernel.T)
    plain = np.einsum("btn,btm->nm", x, dy)
    assert_close(to_kernel, inverse(x, damping) @ plain)


def test_the_limits_of_the_damping():
    """Much of it leaves the plain direction; with almost none, contrast does not change the outputs' step."""
    x, kernel, dy = drawn()
    plain = np.einsum("btn,btm->nm", x, dy)
    assert_close(1e5 * slopes(x, kernel, dy, 1e5)[1], plain, rtol=1e-3)
    for contrast in (0.1, 10.0):
        step = contrast * x @ slopes(contrast * x, kernel, dy, 1e-7)[1]
        assert_close(step, x @ slopes(x, kernel, dy, 1e-7)[1], rtol=1e-3)


def test_on_a_network():
    """Only the patches' kernel learns otherwise; values and paths stay, and merging changes nothing."""
    one, plain = (network(dict(model=SPEC, transforms=t)) for t in ([dict(kind="tract", damping=0.3)], []))
    params = noise(shapes(one, IMAGES)["params"], seed=0)
    assert jax.tree.structure(params) == jax.tree.structure(shapes(plain, IMAGES)["params"])
    assert_close(run(one, {"params": params}, IMAGES)["label"], run(plain, {"params": params}, IMAGES)["label"])
    jax.tree.map(np.testing.assert_array_equal, one.merged(params), params)

    def gradient(net):
        return jax.jit(jax.grad(lambda p: (net.apply({"params": p}, IMAGES)["label"] ** 2).sum()))(params)

    ours, theirs = gradient(one), gradient(plain)
    patches = IMAGES["images"].reshape(5, 2, 2, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(5, 4, 12)
    kernel = theirs["embed"]["patch"].pop("kernel")
    assert_close(
        ours["embed"]["patch"].pop("kernel"), inverse(patches, 0.3) @ np.asarray(kernel, np.float64), rtol=1e-4
    )
    jax.tree.map(assert_close, ours, theirs)


def test_a_network_without_such_a_map_is_refused():
    one = network(dict(model=SPEC, transforms=[dict(kind="tract", paths="first_layer")]))
    with pytest.raises(SpecError, match="'first_layer' is found in the path of no linear module"):
        jax.eval_shape(lambda: one.init(jax.random.key(0), {"images": jnp.zeros((1, 4, 4, 3))}))
