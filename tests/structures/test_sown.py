"""What parts sow comes out of repeats and loops, with the right values and in the order of the run; and depth."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn, shapes
from xfm.parts.ffn import FFNS
from xfm.spec import SpecError

COLLECTIONS = ("losses", "probes", "intermediates")
BATCH = {"tokens": np.arange(22).reshape(2, 11) % 13}
EMBED = dict(kind="tokens", vocab=13, width=8)


class Sowing(nn.Module):
    """A linear map that sows its input's mean, and the depth, in each collection."""

    name_sown: str = "seen"

    @nn.compact
    def __call__(self, x, ctx, state=None):
        y = nn.Dense(x.shape[-1], name="up")(x)
        for collection in COLLECTIONS:
            self.sow(collection, self.name_sown, jnp.stack([y.mean(), jnp.asarray(ctx.depth)]))
        return y, state


@pytest.fixture(autouse=True)
def sowing(monkeypatch):
    monkeypatch.setitem(FFNS, "sowing", Sowing)


def network(**changes):
    return xfm.build(dict(kind="stack", embed=EMBED, pattern=[dict(kind="sowing")] * 2) | changes)


def sown(model, params, batch=BATCH):
    run = jax.jit(lambda params, batch: model.apply({"params": params}, batch, mutable=COLLECTIONS)[1])
    return run(params, batch)


@pytest.mark.parametrize("remat", ["none", "full"])
def test_what_is_sown_survives_both_scans_in_order(remat):
    """3 repeats of 2 loops of 2 sublayers sow what 12 sublayers written out sow, one after the other."""
    looped, written = network(repeats=3, loops=2, remat=remat), network(pattern=[dict(kind="sowing")] * 12)
    params = drawn(looped, BATCH)["params"]
    layers = {
        f"sowing_{4 * r + 2 * loop + i}": jax.tree.map(lambda a, r=r: a[r : r + 1], params["layers"][f"sowing_{i}"])
        for r in range(3)
        for loop in range(2)
        for i in range(2)
    }
    found, expected = sown(looped, params), sown(written, {**params, "layers": layers})
    assert set(found) == set(COLLECTIONS)
    for collection in COLLECTIONS:
        both = [found[collection]["layers"][f"sowing_{i}"]["part"]["seen"][0] for i in range(2)]
        each = [expected[collection]["layers"][f"sowing_{i}"]["part"]["seen"][0] for i in range(12)]
        assert both[0].shape == (3, 2, 2)
        assert_close(jnp.stack(both, axis=2)[..., 0].reshape(-1), jnp.stack(each)[:, 0, 0])
        np.testing.assert_allclose(both[0][..., 1].reshape(-1), np.linspace(0, 1, 6), rtol=1e-6)


def test_a_sown_loss_has_a_gradient():
    model = network(repeats=2, loops=2)
    params = drawn(model, BATCH)["params"]
    gradient = jax.grad(lambda p: sum(jnp.sum(a) for a in jax.tree.leaves(sown(model, p)["losses"])))(params)
    assert all(jnp.abs(a).max() > 0 for a in jax.tree.leaves(gradient["layers"]))


def test_capture_returns_what_is_sown_beside_outputs():
    model = network(repeats=3, loops=2)
    variables = drawn(model, BATCH)
    seen = xfm.capture(model, variables, BATCH, "layers/sowing_0/.*")
    assert list(seen)[:3] == [f"layers/sowing_0/part{rest}" for rest in ("/up", "/seen", "")]
    assert_close(seen["layers/sowing_0/part/seen"][..., 0], seen["layers/sowing_0/part"].mean((2, 3, 4)))


def test_a_sown_name_that_a_submodule_has_is_refused():
    with pytest.raises(ValueError, match='Duplicate use of scope name: "up"'):
        shapes(network(pattern=[dict(kind="sowing", name_sown="up")]), BATCH)


def test_depth_runs_over_the_whole_network():
    """Over a funnel's blocks of several layers, one of them looped, and its decoder: 0, 1/7, … 1."""
    model = network(kind="funnel", blocks=[2, 2], loops=[1, 2], decoder=2, pattern=[dict(kind="sowing")])
    found = sown(model, drawn(model, BATCH)["params"])["probes"]
    first, second, decoder = found["block_0"], found["block_1"], found["decoder"]
    alone = [seen[1] for seen in second["first"]["sowing_0"]["part"]["seen"]]
    layers = [part["layers"]["sowing_0"]["part"]["seen"][0][..., 1].reshape(-1) for part in (first, second, decoder)]
    order = [*layers[0], *alone, *layers[1], *layers[2]]
    np.testing.assert_allclose(order, np.linspace(0, 1, 8), rtol=1e-6)


@pytest.mark.parametrize("kind,before,after", [("stack", "prologue", "epilogue"), ("hourglass", "before", "after")])
def test_layers_before_and_after_the_repeats_have_the_depth_of_the_ends(kind, before, after):
    one = [dict(kind="sowing")]
    model = network(kind=kind, pattern=one, repeats=3, **{before: one, after: one})
    found = sown(model, drawn(model, BATCH)["params"])["probes"]
    depths = [found[name]["sowing_0"]["part"]["seen"][0][..., 1] for name in (before, "layers", after)]
    np.testing.assert_allclose(np.hstack(depths), [0, 0, 0.5, 1, 1])


def test_the_old_name_of_the_funnel_says_the_new_one():
    with pytest.raises(SpecError, match="is called 'funnel' now; set kind='funnel'"):
        network(kind="pyramid", blocks=[1])
