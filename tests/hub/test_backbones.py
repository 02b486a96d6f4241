"""Backbones of the Hub: which features they return, how networks are written as them, and errors. Takes ten seconds."""

import numpy as np
import pytest
from safetensors.numpy import load_file

import xfm
from tests.hub import small
from xfm.errors import XfmError
from xfm.hub.families.backbones import chosen
from xfm.hub.matching import match
from xfm.hub.settings import Settings

NAMES = ("convnext_backbone", "convnextv2_backbone", "dinov3_convnext_backbone", "pvt_v2_backbone", "dinov2_backbone",
         "dinov2_with_registers_backbone", "dinov3_backbone", "swinv2_backbone")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_network_with_features_is_written_as_a_backbone(name, tmp_path):
    m = xfm.load(small.folder(tmp_path / "in", name=name))
    found, config = match(m.spec).settings.content, small.config(name)
    assert found["architectures"] == config["architectures"] and found["out_features"] == config["out_features"]


def test_the_features_are_those_of_the_chosen_stages_alone(tmp_path):
    """With the same weights as the encoder, whose features are those of all stages."""
    folder = small.folder(tmp_path / "in", name="pvt_v2_backbone")
    images = np.random.default_rng(0).standard_normal((1, 26, 18, 1), np.float32)
    maps = xfm.load(folder)(images=images)["feature_maps"]
    every = small.folder(tmp_path / "all", name="pvt_v2_backbone", architectures=["PvtV2Model"])
    for one, other in zip(maps, xfm.load(every)(images=images)["feature_maps"][::2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_feature_maps_of_hidden_states_come_without_these(tmp_path):
    m = xfm.load(small.folder(tmp_path / "in", name="focalnet_backbone"))
    out = m(images=np.ones((1, 26, 19, 1), np.float32))
    assert [x.shape for x in out["feature_maps"]] == [(1, 4, 3, 8), (1, 2, 2, 16)] and "hidden_states" not in out


@pytest.mark.parametrize(
    "given,stem,expected",
    [
        ({}, "stem", (4,)),
        (dict(out_features=["stage3", "stage1"], out_indices=[1, 3]), "stem", (1, 3)),
        (dict(out_features=None, out_indices=[-1, 2]), "stem", (2, 4)),
        (dict(out_indices=[0, 2]), None, (1, 3)),
    ],
)
def test_stages_by_name_and_by_number(given, stem, expected):
    assert chosen(Settings(given), 4, stem) == expected


@pytest.mark.parametrize(
    "given,said",
    [
        (dict(out_features=["stage5"]), "out_features to .'stage5'.; it must list some of stage1, stage2, stage3"),
        (dict(out_features="stage1"), "out_features to 'stage1'; it must list"),
        (dict(out_indices=[0]), "out_features to .'stem'.; it must list"),
        (dict(out_indices=[4]), "out_indices to .4.; it must list numbers below 4"),
        (dict(out_indices=2), "out_indices to 2; it must list numbers below 4"),
        (dict(out_indices=[]), "out_features to ..; it must list"),
    ],
)
def test_stages_that_are_not_there_are_refused(given, said):
    with pytest.raises(XfmError, match=said):
        chosen(Settings(given), 3)


def test_other_forms_of_features_are_refused(tmp_path):
    with pytest.raises(XfmError, match="sets apply_layernorm to False; xfm has this family with True"):
        xfm.load(small.folder(tmp_path / "raw", name="dinov2_backbone", apply_layernorm=False))
    with pytest.raises(XfmError, match="is of HieraBackbone, in which transformers 5 does not reorder tokens"):
        xfm.load(small.folder(tmp_path / "hiera", name="hiera_model", architectures=["HieraBackbone"]))
    beit = small.folder(tmp_path / "beit", name="beit_cls", architectures=["BeitBackbone"])
    with pytest.raises(XfmError, match="is of BeitBackbone, which xfm does not have; load the files of BeitModel"):
        xfm.load(beit)


def test_counters_of_batch_norms_are_written(tmp_path):
    """transformers finds them missing otherwise."""
    m = xfm.load(small.folder(tmp_path / "in", name="levit_model"))
    there = {name for name in small.weights("levit_model") if name.endswith("num_batches_tracked")}
    saved, folder = {}, m.save(tmp_path / "out", dtype="bfloat16", largest=5000)
    for file in folder.glob("model-*.safetensors"):
        saved |= load_file(file)
    assert there and there <= saved.keys() and {saved[name].dtype for name in there} == {np.dtype("int64")}
