"""The shapes of initial variables: those of `init`, traced once."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.drawn import shapes
from xfm.initial import initial_shapes
from xfm.parts.param import param

BATCH = {"x": jnp.ones((2, 3))}


class Times:
    """How often something was traced."""

    count = 0


class Unhashable(Times):
    __hash__ = None


class Counted(nn.Module):
    """A network that counts how often it is traced."""

    width: int
    traced: Times

    @nn.compact
    def __call__(self, batch):
        self.traced.count += 1
        return nn.Dense(self.width)(batch["x"])


def test_they_are_those_of_init_and_the_caller_may_change_them():
    network = Counted(4, Times())
    expected = jax.eval_shape(network.init, jax.random.key(0), BATCH)
    for _ in range(2):
        found = initial_shapes(network, BATCH)
        assert found == expected
        del found["params"]["Dense_0"]["bias"]


class Drawing(nn.Module):
    """A network that counts how often its initialiser is traced."""

    traced: Times

    @nn.compact
    def __call__(self, batch):
        def init(key, shape):
            self.traced.count += 1
            return jax.random.normal(key, shape)

        return batch["x"] @ param(self, "kernel", init, (3, 4))


def test_no_initialiser_is_traced_and_a_later_init_draws():
    traced = Times()
    network = Drawing(traced)
    found = initial_shapes(network, BATCH)
    assert traced.count == 0
    assert found == jax.eval_shape(network.init, jax.random.key(0), BATCH)
    drawn = network.init(jax.random.key(0), BATCH)["params"]["kernel"]
    assert traced.count == 2 and np.std(drawn) > 0.3
    init = network.init
    assert shapes(init, BATCH) == found and traced.count == 2
    assert np.std(jax.jit(init)(jax.random.key(0), BATCH)["params"]["kernel"]) > 0.3


def test_each_network_is_traced_once_for_each_batch():
    traced = Times()
    for count, width, columns in ((1, 4, 3), (1, 4, 3), (2, 5, 3), (3, 4, 2), (3, 4, 3)):
        found = initial_shapes(Counted(width, traced), {"x": jnp.ones((2, columns))})
        assert traced.count == count and found["params"]["Dense_0"]["kernel"].shape == (columns, width)


def test_a_network_without_a_hash_is_traced_each_time():
    traced = Unhashable()
    for count in (1, 2):
        assert initial_shapes(Counted(4, traced), BATCH)["params"]
        assert traced.count == count
