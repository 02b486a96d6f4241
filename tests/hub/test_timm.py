"""Files of timm, loaded by xfm, against timm: every stage, logits, gradients; and saved back. Takes half a minute."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import xfm
from tests.hub.test_parity import close, compare, of
from tests.hub.timm_cases import BUFFERED, CASES, FOLDER, RESIZED
from xfm.errors import XfmError
from xfm.hub.checkpoint import family_of, prepared
from xfm.hub.settings import Settings
from xfm.hub.weights import flat_shapes
from xfm.structures import build

SLOW = ("swin_clamped", "vit_larger", "deit3", "pvt_v2", "convnextv2", "poolformer")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES]
)
def test_equals_timm(name, tmp_path):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    compare(arrays, str(arrays["config"]), tmp_path)


def folder(path, name="swin", **changes):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays, config = of({key: file[key] for key in file.files}, "weight/"), json.loads(str(file["config"]))
    counted = [
        key for key in arrays if key.endswith("running_var")
    ]  # batches, which goldens leave out and timm does not
    arrays |= {key.replace("running_var", "num_batches_tracked"): np.zeros((), np.int64) for key in counted}
    arguments = config["model_args"] | changes.pop("model_args", {})
    (path / "config.json").write_text(json.dumps(config | {"model_args": arguments} | changes))
    save_file(arrays, path / "model.safetensors")
    return path, arrays


@pytest.mark.parametrize(
    "name",
    [
        "swin",
        "deit_distilled",
        "deit3",
        "pvt_v2_linear",
        "dinov2_registers",
        "convnext",
        "hiera",
        "tnt",
        "nest",
        "tiny_vit",
    ],
)
def test_what_is_written_is_what_was_read(name, tmp_path):
    (tmp_path / "in").mkdir()
    source, before = folder(tmp_path / "in", name)
    after = xfm.load(source).save(tmp_path / "out")
    found = load_file(after / "model.safetensors")
    assert {key: a.shape for key, a in found.items()} == {key: a.shape for key, a in before.items()}
    assert all(found[name].tobytes() == before[name].tobytes() for name in before)
    assert json.loads((after / "config.json").read_text())["architecture"] == CASES[name][2]


@pytest.mark.parametrize("name", RESIZED)
def test_images_of_another_size(name, tmp_path):
    """Positions are resized as timm does it, with antialiasing."""
    with np.load(FOLDER / "resized.npz") as file:
        images, logits = (file[f"{name}/{part}"] for part in ("images", "logits"))
    close(xfm.load(folder(tmp_path, name)[0])(pixel_values=images)["logits"], logits, name)


@pytest.mark.parametrize("name", BUFFERED)
def test_buffers_of_older_files_are_what_the_network_computes(name, tmp_path):
    """Those of timm are read; a number that differs is an error in each of them."""
    with np.load(FOLDER / "buffers.npz") as file:
        right = of({key: file[key] for key in file.files}, f"{name}/")
    _, weights = folder(tmp_path, name)
    save_file(weights | right, tmp_path / "model.safetensors")
    with prepared(tmp_path) as plan:
        assert set(right) <= set(plan.unused)
    for key in {key.rpartition(".")[2]: key for key in right}.values():
        wrong = right[key].copy()
        wrong.flat[-2] += 1
        save_file(weights | right | {key: wrong}, tmp_path / "model.safetensors")
        with pytest.raises(XfmError, match=f"the file's {key} differs from what this timm"), prepared(tmp_path):
            pass


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(architecture="swin_s3_tiny_224"), "the architecture 'swin_s3_tiny_224'; xfm reads those of the forms"),
        (dict(architecture="pvt_v2_b9"), "the architecture 'pvt_v2_b9'; xfm reads pvt_v2_b0"),
        (
            dict(architecture="tiny_vit_9m_224"),
            "the architecture 'tiny_vit_9m_224'; xfm reads those of the form tiny_v",
        ),
        (
            dict(architecture="tiny_vit_5m_224", model_args=dict(num_heads=[1, 2], depths=[2] * 4)),
            r"sets num_heads to \[1, 2\]; it must list a value for each of the 4 stages",
        ),
        (dict(architecture="pvt_v2_b0", model_args=dict(qkv_bias=False)), "sets qkv_bias among the model_args of pvt"),
        (dict(architecture="beit_small_patch16_224"), "xfm reads those of the forms beit_base_patchP_PIXELS"),
        (dict(architecture="beit_base_patch16_224", model_args=dict(img_size=[32, 16])), "xfm reads BEiT with squares"),
        (dict(architecture="convnext_tiny_hnf"), "the architecture 'convnext_tiny_hnf'; xfm reads convnext"),
        (dict(architecture="poolformerv2_s12"), "has the model_type"),
        (dict(architecture="hiera_small_abswin_256"), "xfm reads hiera_tiny_PIXELS"),
        (dict(architecture="hiera_tiny_224", model_args=dict(stages=[1, 1, 1, 1])), "2 layers or more in every stage"),
        (dict(architecture="tnt_s_legacy_patch16_224"), "xfm reads tnt_s_patchP_PIXELS"),
        (dict(architecture="nest_tiny"), "sets img_size among the model_args of nest_tiny; xfm reads square images"),
        (dict(model_args=dict(mlp_ratio=3.0)), "sets mlp_ratio among the model_args"),
        (dict(model_args=dict(odd=1)), "sets odd among the model_args of swin_tiny_patch4_window7_224, which xfm does"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said, tmp_path):
    with pytest.raises(XfmError, match=said):
        xfm.load(folder(tmp_path, **changes)[0])


@pytest.mark.parametrize(
    "changes,said",
    [
        (dict(architecture="vit_base_patch16_clip_224"), "xfm reads those of the forms vit_SIZE_patchP_PIXELS"),
        (dict(global_pool="avg"), "sets global_pool to 'avg'; xfm has this family with 'token'"),
        (dict(model_args=dict(qk_norm=True)), "sets qk_norm among the model_args of vit_tiny_patch16_224.augreg_in21k"),
        (dict(model_args=dict(odd=1)), "sets odd among the model_args of vit_tiny_patch16_224.augreg_in21k, which xfm"),
    ],
)
def test_a_vit_that_does_not_fit_is_refused(changes, said, tmp_path):
    with pytest.raises(XfmError, match=said):
        xfm.load(folder(tmp_path, "vit", **changes)[0])


def test_names_of_timm_say_sizes():
    """The published sizes, with the parameters that timm counts, and the moving averages of batch norms."""
    known = {
        "vit_large_patch16_224": 304_326_632, "deit_tiny_distilled_patch16_224": 5_910_800,
        "deit_base_distilled_patch16_224": 87_338_192, "deit3_huge_patch14_224": 632_126_440,
        "eva02_small_patch14_224": 21_621_120 + 385 * 1000, "eva02_base_patch14_448": 87_117_544,
        "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k": 305_080_232,
        "vit_giant_patch14_dinov2": 1_138_016_232, "vit_giant_patch14_reg4_dinov2.lvd142m": 1_138_020_840,
        "vit_small_patch14_reg4_dinov2": 22_442_344,
        "beit_base_patch16_224": 86_530_984, "beitv2_large_patch16_224.in1k_ft_in22k_in1k": 304_430_568,
        "convnext_pico": 9_045_672, "convnext_xlarge.fb_in22k": 350_196_968, "convnextv2_huge": 660_289_640,
        "poolformer_m48": 73_473_448, "mixer_l16_224": 208_196_168, "hiera_base_plus_224": 69_896_616,
        "tnt_b_patch16_224": 65_428_680, "nest_small_jx.goog_in1k": 38_351_176,
        "tiny_vit_5m_224.in1k": 5_392_764 + 9_856, "tiny_vit_21m_384.dist_in22k_ft_in1k": 21_230_488 + 18_336,
    }  # fmt: skip
    for name, parameters in known.items():
        c = Settings(dict(architecture=name, num_classes=1000))
        family = family_of(c.content)
        spec = dict(family.network(c)) | dict(heads={h.name: h.spec(c) for h in family.heads.values()})
        assert sum(x.size for x in flat_shapes(build(spec), family.calling.example(c)).values()) == parameters, name
