"""The products of vision networks, as the references count them, within one per cent. Takes six seconds."""

import importlib

import jax
import numpy as np
import pytest

import xfm
from xfm.catalogue import entries
from xfm.configs.vision import levit
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


def products(module, variant):
    """The billions of products that the label of one image takes."""
    c = module.get_config(variant)
    size = c.data.size
    height, width = (size, size) if isinstance(size, int) else size
    model = xfm.build(plain(c.model))
    batch = {"images": jax.ShapeDtypeStruct((1, height, width, 3), np.float32)}
    shapes = initial_shapes(model, batch)
    return total(jax.make_jaxpr(lambda v, b: model.apply(v, b)["label"])(shapes, batch).jaxpr) / 2e9


@pytest.mark.parametrize("module,variant,figure", known())
def test_products_are_those_of_the_reference(module, variant, figure):
    counted = products(module, variant)
    assert abs(counted - figure) <= 0.01 * figure, f"{counted:.3f}e9 products, {figure}e9 in the reference"


# timm's networks, counted by PyTorch
LEVIT = {"128S": 0.30466, "128": 0.40532, "192": 0.65702, "256": 1.12726, "384": 2.35179}


@pytest.mark.parametrize("variant", [pytest.param(v, marks=() if v == "128S" else pytest.mark.slow) for v in LEVIT])
def test_levit_takes_more_products_by_those_with_zeros(variant):
    """N·T·S·(U - H) in each attention: U is 2 H within the stages and 4 H between them."""
    widths, heads, layers, keys, _ = levit.SIZES[variant]
    tokens = (14**2, 7**2, 4**2)
    zeros = sum(n * N * T * T * keys for n, N, T in zip(layers, heads, tokens, strict=True))
    between = zip(widths, tokens[1:], tokens, strict=False)
    zeros += sum(width // keys * T * S * 3 * keys for width, T, S in between)
    assert abs(products(levit, variant) - zeros / 1e9 - LEVIT[variant]) <= 0.002 * LEVIT[variant]
