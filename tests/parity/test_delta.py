"""The delta rule against the recurrences of flash-linear-attention, from the golden of tests/goldens/delta.py."""

import jax
import numpy as np
import pytest

from tests.parity.golden import GRADIENT, close, load
from xfm.kernels.delta import IMPLEMENTATIONS, delta

GOLDEN = load("delta")


def ours(name, a):
    """Its states are [B N M H], and those of `delta` [B N H M]."""
    return a.swapaxes(2, 3) if name == "state" else a


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["plain", "gated"])
def test_the_rule_equals_theirs(kind, implementation):
    theirs, weights = GOLDEN.of(f"grad/{kind}/"), GOLDEN.of("input/cotangent/")
    given = {name: ours(name, GOLDEN[f"input/{name}"]) for name in theirs}

    @jax.jit
    def run(given):
        def loss(given):
            y, state = delta(**given, chunk=8, implementation=implementation)
            return (y * weights["y"]).sum() + (state * ours("state", weights["state"])).sum(), (y, state)

        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(given)
        return values, gradients

    (y, state), gradients = jax.tree.map(np.asarray, run(given))
    close(y, GOLDEN[f"output/{kind}/y"], "y")
    close(state, ours("state", GOLDEN[f"output/{kind}/state"]), "last state")
    for name, a in gradients.items():
        close(a, ours(name, theirs[name]), f"gradient of {name}", GRADIENT)
