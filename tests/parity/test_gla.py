"""Gated linear attention against flash-linear-attention: the golden of tests/goldens/gla.py. Takes five seconds."""

import jax
import numpy as np
import pytest

from tests.parity.golden import GRADIENT, close, load
from xfm.kernels.gla import IMPLEMENTATIONS, gla

GOLDEN = load("gla")
RETNET = np.log1p(-(2.0 ** (-5.0 - np.arange(3)))).astype(np.float32)  # of three heads; Sun et al. 2023, equation 8


def ours(name, a):
    """Its states are [B N M H], and those of `gla` [B N H M]."""
    return a.swapaxes(2, 3) if name == "state" else a


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["by_channel", "by_head", "retention"])
def test_the_recurrence_equals_theirs(kind, implementation):
    theirs, weights = GOLDEN.of(f"grad/{kind}/"), GOLDEN.of("input/cotangent/")
    given = {n: ours(n, GOLDEN[f"input/{kind}/{n}" if n == "log_decay" else f"input/{n}"]) for n in theirs}
    fixed = dict(log_decay=RETNET) if kind == "retention" else {}

    @jax.jit
    def run(given):
        def loss(given):
            y, state = gla(**given, **fixed, chunk=8, implementation=implementation)
            of_state = 0.0 if fixed else (state * ours("state", weights["state"])).sum()
            return (y * weights["y"]).sum() + of_state, (y, state)

        (_, values), gradients = jax.value_and_grad(loss, has_aux=True)(given)
        return values, gradients

    (y, state), gradients = jax.tree.map(np.asarray, run(given))
    close(y, GOLDEN[f"output/{kind}/y"], "y")
    if not fixed:
        close(state, ours("state", GOLDEN[f"output/{kind}/state"]), "last state")
    for name, a in gradients.items():
        close(a, ours(name, theirs[name]), f"gradient of {name}", GRADIENT)
