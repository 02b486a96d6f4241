"""Sub-networks that share the weights of a larger one. Takes three seconds."""

import jax
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.drawn import drawn
from xfm.configs.vision import vit_resnas
from xfm.errors import XfmError
from xfm.initial import initial_shapes
from xfm.transforms.slicing import sliced

IMAGES = {"images": np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)}
LARGER = ((12, (3, 2), 4, (20, 24)), (16, (2, 3), 8, (28, 24)))
# One head and some hidden units less in the first layer, and one layer less in the second stage.
SMALLER = ((12, (2, 2), 4, (16, 24)), (16, (2,), 8, (20,)))
FEWER = (LARGER[0], (16, (2,), 8, (28,)))


def network(stages):
    return xfm.build(vit_resnas.network(stages, 4, 5, patch=2, inner=6))


def test_a_sub_network_equals_the_larger_one_with_the_rest_at_zero():
    larger, smaller = network(LARGER), network(SMALLER)
    params = jax.tree.map(np.array, drawn(larger, IMAGES, by=0.3)["params"])
    alone = smaller.apply({"params": sliced(params, initial_shapes(smaller, IMAGES)["params"])}, IMAGES)["label"]
    assert np.abs(larger.apply({"params": params}, IMAGES)["label"] - alone).max() > 1e-2
    layers = params["stage_0"]["layers"], params["stage_1"]["layers"]
    layers[0]["attention_0"]["part"]["o"]["kernel"][:, 2:] = 0
    layers[0]["mlp_1"]["part"]["down"]["kernel"][:, 16:] = 0
    layers[1]["mlp_1"]["part"]["down"]["kernel"][:, 20:] = 0
    for part, last in (("attention_2", "o"), ("mlp_3", "down")):
        for leaf in layers[1][part]["part"][last].values():
            leaf[:] = 0
    assert_close(larger.apply({"params": params}, IMAGES)["label"], alone)


def test_a_narrower_network_has_the_first_channels():
    params = drawn(network(LARGER), IMAGES)["params"]
    narrow = sliced(params, initial_shapes(network(((8, (2,), 4, (16,)), (12, (2,), 8, (20,)))), IMAGES)["params"])
    for path in (("stage_1", "down", "conv", "kernel"), ("embed", "position", "table"), ("norm", "scale")):
        ours, whole = narrow, params
        for name in path:
            ours, whole = ours[name], whole[name]
        np.testing.assert_array_equal(ours, whole[tuple(slice(n) for n in ours.shape)])
        assert ours.shape[-1] in (8, 12)


def test_what_is_not_in_the_larger_network_is_refused():
    small, large = (initial_shapes(network(stages), IMAGES)["params"] for stages in (FEWER, LARGER))
    with pytest.raises(XfmError, match=r"the larger network has no parameter stage_1/layers/attention_2"):
        sliced(jax.tree.map(lambda x: np.zeros(x.shape), small), large)
    wide = initial_shapes(network(((12, (4, 2), 4, (16, 24)), SMALLER[1])), IMAGES)["params"]
    with pytest.raises(XfmError, match=r"attention_0/part/k/bias has the shape \(1, 3, 4\) in the larger network"):
        sliced(jax.tree.map(lambda x: np.zeros(x.shape), large), wide)
