"""The products of vision networks, as the references count them, within one per cent. Takes four seconds."""

import importlib

import jax
import numpy as np
import pytest

import xfm
from xfm.catalogue import entries
from xfm.initial import initial_shapes
from xfm.plan.flops import total
from xfm.spec import plain


def known():
    """(config, variant, figure) of each figure in a config's GMACS; a config's first one runs by default."""
    found = []
    for entry in entries():
        module = importlib.import_module("xfm.configs." + entry.config.replace("/", "."))
        for i, (variant, figure) in enumerate(getattr(module, "GMACS", {}).items()):
            marks = [pytest.mark.slow] if i else []
            found.append(pytest.param(module, variant, figure, marks=marks, id=f"{entry.config}:{variant}"))
    return found


@pytest.mark.parametrize("module,variant,figure", known())
def test_products_are_those_of_the_reference(module, variant, figure):
    c = module.get_config(variant)
    size = c.data.size
    height, width = (size, size) if isinstance(size, int) else size
    model = xfm.build(plain(c.model))
    batch = {"images": jax.ShapeDtypeStruct((1, height, width, 3), np.float32)}
    shapes = initial_shapes(model, batch)
    counted = total(jax.make_jaxpr(lambda v, b: model.apply(v, b)["label"])(shapes, batch).jaxpr) / 2e9
    assert abs(counted - figure) <= 0.01 * figure, f"{counted:.3f}e9 products, {figure}e9 in the reference"
