"""Parameters away from their initial values, so that zeros and ones hide nothing, and modules run compiled."""

import functools

import jax
import numpy as np


def spread(params, by: float = 0.1):
    """Every leaf with normal noise of that size added."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda a: a + by * rng.standard_normal(a.shape, np.float32), params)


def drawn(module, *inputs, by: float = 0.1, method=None):
    """A module's variables for these inputs, spread."""
    init = functools.partial(module.init, method=method)
    return spread(jax.jit(init)(jax.random.key(1), *inputs), by)


@functools.partial(jax.jit, static_argnums=0)
def run(module, params, *inputs):
    """What a module makes of its inputs. Compiled as a whole: one by one, its operations take far longer to compile."""
    return module.apply(params, *inputs)


def loss_of(objective, params, extra, batch, key, train=True):
    """What an objective's loss gives, compiled."""
    return jax.jit(lambda *inputs: objective.loss(*inputs, train=train))(params, extra, batch, key)
