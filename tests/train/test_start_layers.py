"""Starting from a checkpoint whose layers are stacked in another way. Takes six seconds."""

import numpy as np
import pytest

import xfm
from tests.hub import small
from tests.train.test_start import started
from xfm.configs.vision import simpleclick
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.structures.base import Layer
from xfm.train.numbered import rows_of

LAYERS, WIDTH, HEADS, PATCH = 4, 24, 3, 4


@pytest.fixture(scope="module")
def mae(tmp_path_factory):
    """A pre-trained MAE of LAYERS layers, for images of 3 x 3 patches with one channel."""
    rng, known, name = np.random.default_rng(0), small.weights("vit_mae_pretraining"), "vit_mae_pretraining"
    arrays = {key: a for key, a in known.items() if ".encoder.layer." not in key}
    for key, a in known.items():
        shape = tuple(4 * WIDTH if side == small.config(name)["intermediate_size"] else side for side in a.shape)
        if ".encoder.layer.0." in key:
            arrays |= {key.replace(".0.", f".{i}.", 1): rng.standard_normal(shape, np.float32) for i in range(LAYERS)}
    arrays["vit.embeddings.patch_embeddings.projection.weight"] = rng.standard_normal(
        (WIDTH, 1, PATCH, PATCH), np.float32
    )
    for leaf in ("weight", "bias"):
        arrays[f"decoder.decoder_pred.{leaf}"] = arrays[f"decoder.decoder_pred.{leaf}"][: PATCH**2].copy()
    changes = dict(num_hidden_layers=LAYERS, intermediate_size=4 * WIDTH, num_channels=1)
    return small.folder(tmp_path_factory.mktemp("hub") / "mae", arrays, name=name, **changes)


def config(source, layers=LAYERS, **changes):
    """The tiny SimpleClick, with a global layer after each one with windows."""
    c = simpleclick.get_config("tiny")
    c.model = simpleclick.network(layers, WIDTH, HEADS, PATCH, 2, (8, 8, 8, 8), 8, size=32, channels=1)
    c.data.scenes, c.evals, c.mesh = 40, [], dict(data=1, model=8)
    c.start = {**c.start.to_dict(), "source": str(source), **changes}
    return c


def test_layers_of_one_loop_become_those_of_periods(mae, tmp_path):
    """Layer 2 i of MAE is row i of the layers with windows, and layer 2 i + 1 that of the global ones, to the bit."""
    run, state = started(config(mae), tmp_path / "run")
    there, here = (flatten(tree) for tree in (xfm.load(mae, head="none").params, state.params))
    layers = {path: a for path, a in there.items() if path.startswith("layers/")}
    assert len(layers) == 16
    for path, a in layers.items():
        if path.startswith("layers/mlp_1/"):
            near, all_ = path, path.replace("mlp_1", "mlp_3")
        else:
            near = path.replace("attention_0", "windowed_0").replace("/part/", "/part/mixer/")
            all_ = path.replace("attention_0", "attention_2")
        for i in range(LAYERS):
            np.testing.assert_array_equal(here[(near, all_)[i % 2]][i // 2], a[i], err_msg=path)
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(here[f"embed/embed/patch/{leaf}"], there[f"embed/patch/{leaf}"])


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(layers=6), r"mae has 8 sublayers in the group 'layer' and the network of this config has 12; co"),
        (dict(renames=[]), r"embed/embed/patch/bias is absent there and \(24,\) here, .*layers/windowed_0/part/mixer"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(mae, changes, said, tmp_path):
    with pytest.raises(XfmError, match=said):
        c = config(mae, changes.get("layers", LAYERS))
        c.start = {**c.start.to_dict(), **{key: value for key, value in changes.items() if key != "layers"}}
        started(c, tmp_path / "run")


def test_the_rows_of_a_parameter():
    """A prologue's layer is the first of a loop, and the epilogue's the last."""
    one = [Layer("prologue/a_0", False, 0, "layer"), *(Layer("layers/a_0", True, i, "layer") for i in range(2))]
    assert rows_of("layers/a_0/k", {"layers/a_0": one}, ()) == [
        ("prologue/a_0/k", None), ("layers/a_0/k", 0), ("layers/a_0/k", 1)
    ]  # fmt: skip
    assert rows_of("embed/table", {"layers/a_0": one}, [("^embed/", "in/")]) == [("in/table", None)]
