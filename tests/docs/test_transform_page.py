"""The transform of CONTRIBUTING.md, read from the page, around a network."""

import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from tests.docs.pages import ROOT, block
from tests.transforms.test_contract import BATCH, drawn, output, without_own
from xfm.errors import XfmError
from xfm.paths import flatten

FILE = "my_transforms.py"


@pytest.fixture
def case(monkeypatch):
    module = types.ModuleType("my_transforms")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block("CONTRIBUTING.md", f"file: {FILE}"), module.__dict__)
    return dict(kind="my_transforms:Scaling", paths="/v$")


def test_the_style_is_kept():
    code = block("CONTRIBUTING.md", f"file: {FILE}")
    for words in (["check"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *words, "--stdin-filename", FILE, "-"]
        found = subprocess.run(words, input=code, capture_output=True, text=True, cwd=ROOT)
        assert found.returncode == 0, found.stdout + found.stderr


def test_it_scales_values_in_every_layer(case):
    """As the maps would with their kernels and biases scaled; at first by one; and it stays a run."""
    plain, one, params = drawn(case)
    scaled = flatten(without_own(params))
    for path, scale in flatten(params["own"]).items():
        module, leaf = path.rsplit("/", 2)[0], np.asarray(scale)
        assert path.endswith("/v/scaling/scale")
        wide = leaf[:, None] if module.startswith("layers") else leaf
        scaled |= {
            f"{module}/kernel": scaled[f"{module}/kernel"] * wide,
            f"{module}/bias": scaled[f"{module}/bias"] * leaf,
        }
    tree = jax.tree.unflatten(jax.tree.structure(without_own(params)), list(scaled.values()))
    np.testing.assert_allclose(output(one, params), output(plain, tree), rtol=1e-4, atol=1e-4)
    start = jax.eval_shape(one.init, jax.random.key(0), BATCH)["params"]["own"]
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), start)
    np.testing.assert_array_equal(output(one, {**params, "own": ones}), output(plain, without_own(params)))
    with pytest.raises(XfmError, match="'scaling' cannot be merged"):
        one.merged(params)
