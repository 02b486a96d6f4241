"""A transformed network on eight devices: its loss, gradients and moving average are those on one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from tests.close import assert_close
from tests.transforms.test_contract import LAST, drawn
from xfm.objectives import CausalLM
from xfm.paths import flatten
from xfm.sharding import batch_sharding, make_mesh, rules_named
from xfm.train.state import State, state_sharding
from xfm.train.step import make_step

OPTIMISER = optax.chain(optax.trace(0.0), optax.scale(-0.1))  # its state is the last gradient
ROWS = {"tokens": np.arange(48).reshape(8, 6) ** 2 % 11, "segments": np.int32([[1] * 6] * 3 + [[1] * 4 + [0] * 2] * 5)}


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_eight_devices_find_what_one_finds():
    """From parameters away from their start, rows and kernels being divided over both axes of the mesh."""
    _, network, params = drawn(LAST, heads=dict(lm=dict(kind="mlm", vocab=11)), mask="causal", prologue=[])
    average = jax.tree.map(lambda x: 2 * x, params)
    state = State(jnp.int32(0), params, OPTIMISER.init(params), {}, average, jax.random.key(0))
    mesh = make_mesh(dict(data=4, model=2))
    sharding, _ = state_sharding(state, mesh, rules_named("tensor"))
    assert sharding.params["layers"]["attention_0"]["part"]["q"]["kernel"].spec == PartitionSpec(None, None, "model")
    found = []
    for layout, rows in ((None, None), (sharding, batch_sharding(mesh))):
        step = make_step(CausalLM(model=network), OPTIMISER, ema=0.75, sharding=layout)
        after, metrics = step(jax.device_put(jax.tree.map(jnp.array, state), layout), jax.device_put(ROWS, rows))
        found.append((metrics["loss"][0] / metrics["loss"][1], flatten(after.opt_state), after.ema))
    (loss, gradients, average), (their_loss, theirs, followed) = found
    assert all(np.abs(x).max() > 0 for path, x in gradients.items() if not path.endswith("k/bias"))
    assert_close(their_loss, loss)
    assert_close(theirs, gradients)
    assert_close(followed, average)
