"""Fine-tuning of checkpoints that read images: what is taken, normalised and written, heads of other classes, and
layer-wise learning rates. Takes fifteen seconds.
"""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import xfm
from tests.drawn import run as computed
from tests.hub import small
from tests.train.test_start import started
from xfm.configs.vision import finetune, freeze_embed, swin, vit
from xfm.convert.export import run_checkpoint
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.train import start, train
from xfm.train.layerwise import factors
from xfm.train.optimiser import build_optimiser

pytest.importorskip("sklearn.datasets")
MEAN, STD = (0.25, 0.5, 0.5), (0.5, 0.5, 0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ViT of 3 x 3 patches of 4 x 4 pixels with 5 classes, and its processor."""
    folder = small.folder(tmp_path_factory.mktemp("hub") / "vit", name="vit_larger", hidden_act="gelu")
    content = dict(image_processor_type="ViTImageProcessor", size=12, image_mean=MEAN, image_std=STD)
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder


def config(folder, **changes):
    """The recipe of vision/finetune on the digits, for two steps."""
    c = finetune.get_config("B")
    c.start.source = str(folder)
    c.objective.update(classes=10, mixup=0.0, cutmix=0.0)
    c.model.heads.label.classes = 10
    c.data = dict(kind="images", size=12, channels=3, validation=0.2)
    c.augment = dict(ops=[dict(kind="flip")])
    c.batch, c.steps, c.mesh = 8, 2, dict(data=1, model=8)
    c.schedule = dict(kind="constant", peak=0.1)
    return ConfigDict({**c.to_dict(), "eval_steps": 1, "evals": [], "save_every": 2, **changes})


def test_a_fresh_head_on_the_checkpoints_features(folder, tmp_path):
    """With its normalisation; what is trained is written with a processor that prepares images as training did."""
    run, state = started(config(folder), tmp_path / "run")
    known = xfm.load(folder, head="none")
    row = {"images": run.data.train[3]["images"][None]}
    np.testing.assert_allclose(run.config["data"]["mean"], MEAN)
    hidden = computed(run.objective.model, {"params": state.params}, row)
    np.testing.assert_array_equal(hidden["hidden"], known(images=row["images"])["last_hidden_state"])
    assert hidden["label"].shape == (1, 10) and known.heads == {}
    train(config(folder).to_dict(), tmp_path / "run")
    with run_checkpoint(tmp_path / "run") as (made, about):
        made.save(tmp_path / "out", about=about)
    out = xfm.load(tmp_path / "out")
    levels = np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3)
    image = out.processor(levels)
    np.testing.assert_allclose(image[0], (levels / 255 - MEAN) / STD, atol=1e-5)
    assert out(images=image)["logits"].shape == (1, 10)
    again = config(tmp_path / "run", start=dict(source=str(tmp_path / "run"), fresh=("^head_label/",)))
    assert start.resolved(again)["data"]["std"] == pytest.approx(STD)  # a run says how it was normalised, too


def test_heads_of_other_classes_are_named_and_can_be_left_out(folder, tmp_path):
    """By head='none' when it is loaded, and by config.start.fresh where it is trained."""
    there = len(xfm.load(folder).config.get("id2label", "ab"))
    wrong = small.folder(
        tmp_path / "in", name="vit_larger", hidden_act="gelu", id2label={str(i): f"c{i}" for i in range(9)}
    )
    said = (
        rf"classifier.bias has the shape \({there},\) in the file, but \(9,\) by config.json, classifier.weight .*; "
        "only the head image_classification differs, so .* load the checkpoint without heads by head='none'"
    )
    with pytest.raises(XfmError, match=said):
        xfm.load(wrong)
    bare = xfm.load(wrong, head="none")
    x = np.random.default_rng(0).normal(size=(1, 12, 12, 3)).astype(np.float32)
    expected = xfm.load(folder)(images=x)["last_hidden_state"]
    assert bare(images=x).keys() == {"last_hidden_state"}
    assert bare.save(tmp_path / "bare") and xfm.load(tmp_path / "bare").heads == {}
    np.testing.assert_array_equal(bare(images=x)["last_hidden_state"], expected)

    c = config(folder)
    c.model = vit.network(3, 24, 3, patch=4, size=12, classes=10, activation="gelu", hidden=40, eps=1e-12)
    c.model["embed"]["channels"] = 3
    c.start.fresh = ()
    with pytest.raises(
        XfmError, match=rf"head_label/out/bias is \({there},\) there and \(10,\) here.* '\^head_label/'"
    ):
        started(c, tmp_path / "refused")
    c.start.fresh = ("^head_label/",)
    run, state = started(c, tmp_path / "taken")
    own = computed(run.objective.model, {"params": state.params}, {"images": x})
    np.testing.assert_array_equal(own["hidden"], xfm.load(folder, head="none")(images=x)["last_hidden_state"])


def test_a_teacher_that_follows_the_network_starts_as_the_checkpoint_does(folder, tmp_path):
    head = dict(kind="prototypes", prototypes=6, hidden=8, bottleneck=4)
    c = config(folder, objective=dict(kind="self_distillation"), augment=None, init=[])
    c.model["heads"], c.start.fresh, c.start.export = dict(prototypes=head), ("^head_",), "none"
    _, state = started(c, tmp_path / "run")
    assert flatten(state.extra["teacher"]).keys() == flatten(state.params).keys()
    for path, value in flatten(state.params).items():
        np.testing.assert_array_equal(flatten(state.extra["teacher"])[path], value, err_msg=path)


@pytest.mark.parametrize("name,layers", [("vit", 2), ("swin", 6)])
def test_layer_decay(name, layers):
    """Each layer's rate is the one above's times 0.5, counted by hand, whether layers are in one loop or in several."""
    model = xfm.build({"vit": vit, "swin": swin}[name].get_config("tiny").model.to_dict())
    images = np.zeros((1, 8, 8, 1), np.float32)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), {"images": images})["params"])
    found = factors(dict(rate=0.5), model.sublayers(), flatten(params))
    assert found["head_label/out/kernel"] == found["norm/scale"] == 1
    assert {one for path, one in found.items() if path.startswith("embed/")} == {0.5 ** (layers + 1)}
    if name == "vit":
        assert found["layers/mlp_1/part/up/kernel"] == found["layers/attention_0/in_norm/scale"] == [0.25, 0.5]
    else:
        for stage in range(3):
            assert found[f"stage_{stage}/layers/mlp_1/part/up/bias"] == [0.5 ** (6 - 2 * stage)]
            assert found[f"stage_{stage}/layers/windowed_2/in_norm/bias"] == [0.5 ** (5 - 2 * stage)]
        merges = next(one for path, one in found.items() if path.startswith("stage_1/down"))
        assert merges == 0.5**4
    ones = jax.tree.map(lambda x: np.ones(x.shape, np.float32), params)
    optimiser = build_optimiser(dict(kind="sgd", momentum=0.0), lambda step: 1.0, params, speed=found, clip=None)
    updates, _ = optimiser.update(ones, optimiser.init(ones), ones, step=0)
    for path, update in flatten(updates).items():
        each = np.broadcast_to(np.asarray(found[path]).reshape(-1, *[1] * (update.ndim - 1)), update.shape)
        np.testing.assert_allclose(update, -each, rtol=1e-6, err_msg=path)


def test_layer_decay_is_refused():
    with pytest.raises(XfmError, match="config.layer_decay: .* no field 'decay'"):
        factors(dict(decay=0.5), (), ())
    with pytest.raises(XfmError, match="needs a network that says where its layers are"):
        factors(dict(rate=0.5), (), ())


@pytest.mark.parametrize("name,most", [("sgd", 8), ("momentum", 12), ("adamw", 16)])
def test_bytes_of_a_trained_parameter(name, most):
    """Weight, gradient and the optimiser's state, as the paper counts them; frozen ones have none of the latter."""
    c = freeze_embed.get_config(name)
    shapes = {"embed": {"patch": {"kernel": (9, 8)}}, "layers": {"up": {"kernel": (100, 10)}}}
    params = jax.tree.map(lambda x: np.zeros(x, np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple))
    optimiser = build_optimiser(c.optimiser.to_dict(), lambda step: 1.0, params, freeze=c.freeze)
    state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(optimiser.init, params)))
    assert most == 8 + state // 1000 and state % 1000 <= 8  # and a count of steps


def test_frozen_patches_keep_their_bits(folder, tmp_path):
    """After training, all else having moved; the log has the norms of the embedding's gradient and of the rest."""
    c = config(
        folder, optimiser=dict(kind="sgd", momentum=0.0), freeze=freeze_embed.FROZEN, layer_decay=None, log_every=1
    )
    c.norms = freeze_embed.get_config("sgd").norms
    state = train(c.to_dict(), tmp_path / "run").state
    known, now = flatten(xfm.load(folder, head="none").params), flatten(state.params)
    for path, leaf in known.items():
        still = path.startswith("embed/patch/") or path.endswith("/k/bias")  # which has no gradient under a softmax
        assert np.array_equal(leaf, now[path]) == still, path
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])
    total = first["grad_norm/embed"] ** 2 + first["grad_norm/rest"] ** 2
    assert first["grad_norm"] ** 2 == pytest.approx(total, rel=1e-4)
