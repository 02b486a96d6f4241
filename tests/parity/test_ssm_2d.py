"""The mixer "state_space_2d" against the authors' layer, from the golden of tests/goldens/ssm_2d.py."""

import jax
import numpy as np
import pytest

from tests.parity.golden import close, load
from xfm.context import Context
from xfm.parts import SLOTS
from xfm.spec import build

GOLDEN = load("ssm_2d")


@pytest.mark.parametrize("directions", [2, 4])
def test_the_layer_equals_the_authors(directions):
    """From two and from four corners, with fewer systems than channels and with as many."""
    there, x = GOLDEN.of(f"weight/directions_{directions}/"), GOLDEN["input/x"]
    (B, h, w, D), K = x.shape, GOLDEN.config["systems"][str(directions)]
    params = {
        "transition": np.stack([there[f"A.A_{i}"] for i in (1, 2, 3, 4)]),
        "input": np.stack([there["B_1"], there["B_2"]]),
        "output": np.stack([there[f"C_{i}"].reshape(directions, D, -1) for i in (1, 2)]),
        "skip": there["omega"],
    }
    spec = dict(kind="state_space_2d", states=GOLDEN.config["states"], systems=K, directions=directions, norm=None)
    mixer, ctx = build(SLOTS["mixer"], spec), Context(grid=(h, w))
    y, _ = jax.jit(mixer.apply)({"params": params}, x.reshape(B, h * w, D), ctx)
    close(y.reshape(x.shape), GOLDEN[f"output/directions_{directions}/y"], "output")
