"""Swin through the Hub: networks that can be written, values of config.json that are refused. Takes three seconds."""

import pytest

import xfm
from tests.hub import small
from xfm.configs.vision import swin
from xfm.errors import XfmError
from xfm.hub.matching import match

NORM = dict(kind="layernorm", eps=1e-5)


def network(layers=(2, 3), **changes):
    spec = swin.network(layers, 16, (2, 4), patch=(2, 4), window=4, classes=5, hidden=1.5)
    spec["embed"]["channels"] = 3
    return spec | changes


def test_a_network_is_written_as_a_classifier():
    m = match(network())
    found = m.settings.content
    assert found["architectures"] == ["SwinForImageClassification"]
    assert (found["depths"], found["patch_size"], found["mlp_ratio"]) == ([2, 3], [2, 4], 1.5)


def test_features_with_norms_are_written_as_a_backbone():
    spec = network(feature_norm=NORM, features=["stage_1"], heads={}, norm=None)
    for stage in spec["stages"]:
        stage["pattern"] = [dict(p, fit="never") if p["kind"] == "windowed" else p for p in stage["pattern"]]
    spec["embed"]["position"] = dict(kind="learned_grid", size=8, first=0)
    found = match(spec).settings.content
    assert (found["architectures"], found["out_features"]) == (["SwinBackbone"], ["stage2"])
    assert (found["image_size"], found["use_absolute_embeddings"]) == ([16, 32], True)


def test_windows_of_timm_are_not_the_hubs():
    spec = network()
    spec["stages"][0]["pattern"][0]["padding"] = "after_shift"
    with pytest.raises(XfmError, match="padding is 'after_shift' and would be 'before_shift'"):
        match(spec)


@pytest.mark.parametrize(
    "name,changes,said",
    [
        ("swin_label", dict(depths=2), "sets depths to 2; it must list a number of 1 or more for each stage"),
        ("swin_label", dict(depths=[2, 0]), "sets depths to .2, 0.; it must list"),
        ("swin_label", dict(num_heads=[2]), "has depths for 2 stages and num_heads for 1; give both alike"),
        ("swin_label", dict(path_norm=False), "sets path_norm to False"),
        ("swin_label", dict(hidden_size=32), "sets hidden_size to 32; xfm has this family with 16"),
        ("swin_backbone", dict(out_features=["stem"]), "out_features to .'stem'.; it must list some of stage1, stage2"),
        ("swin_label", dict(window_size=2), "bias_table has the shape .49, 2. in the file, but .9, 2. by config.json"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(name, changes, said, tmp_path):
    with pytest.raises(XfmError, match=said):
        xfm.load(small.folder(tmp_path / "in", name=name, **changes))
