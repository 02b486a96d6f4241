"""Loading onto the shards of a mesh, block by block, and which tensors are left."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from safetensors.numpy import save_file

import xfm
from tests.hub import small
from xfm.errors import XfmError
from xfm.hub import files, load, sharded, weights
from xfm.hub.checkpoint import prepared
from xfm.paths import flatten
from xfm.sharding import RULES, make_mesh, params_sharding

SHAPES = [(64,), (3, 5), (130, 7), (64, 4), (65, 3), (200, 2), (1, 9), (2, 3, 4)]


IDS = np.arange(8 * 6).reshape(8, 6) % 61


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint on one device, and what it predicts."""
    checkpoint = load(small.folder(tmp_path_factory.mktemp("whole")))
    return checkpoint, checkpoint(IDS)["masked_lm"]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("axes", [dict(data=8, model=1), dict(data=2, model=4), dict(data=1, model=8)])
def test_onto_a_mesh(whole, rules, axes):
    (whole, theirs), mesh = whole, make_mesh(axes)
    cut = load(whole.folder, place=sharded(mesh, rules))
    wanted = flatten(params_sharding(whole.params, mesh, RULES[rules])[0])
    here = flatten(whole.params)
    for path, array in flatten(cut.params).items():
        assert isinstance(array.sharding, NamedSharding) and array.sharding == wanted[path], path
        np.testing.assert_array_equal(np.asarray(array), np.asarray(here[path]), err_msg=path)
    split = [path for path, array in flatten(cut.params).items() if not array.is_fully_replicated]
    assert bool(split) == (rules != "replicated" and axes[{"fsdp": "data", "tensor": "model"}[rules]] > 1)
    ours = cut(IDS)["masked_lm"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


def test_rules_of_ones_own(tmp_path):
    mesh = make_mesh(dict(data=8, model=1))
    own = ((r"mlp_1/part/up/kernel$", (None, "data")), (r"^(?!.*mlp_1/part/up/kernel$)", ()))
    flat = flatten(load(small.folder(tmp_path), place=sharded(mesh, own)).params)
    assert [path for path, a in flat.items() if not a.is_fully_replicated] == ["layers/mlp_1/part/up/kernel"]
    with pytest.raises(XfmError, match="no sharding rule"):
        load(tmp_path, place=sharded(mesh, own[:1]))
    with pytest.raises(XfmError, match="did you mean 'fsdp'"):
        sharded(mesh, "fdsp")


def test_saved_from_a_mesh(tmp_path):
    folder = small.folder(tmp_path / "in")
    cut = load(folder, place=sharded(make_mesh(dict(data=2, model=4)), "tensor"))
    one, other = cut.save(tmp_path / "cut"), load(folder).save(tmp_path / "whole")
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 64, 2**18])
def test_blocks_make_the_whole(tmp_path, monkeypatch, shape, block):
    monkeypatch.setattr(files, "BLOCK", block)
    monkeypatch.setattr(files, "ROWS", 1 if block == 1 else 64)
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    save_file({"a": array}, tmp_path / "model.safetensors")
    with files.tensors_of(tmp_path) as tensors:
        found, half = np.zeros_like(array), np.zeros_like(array[shape[0] // 2 :])
        for rows, numbers in tensors.blocks("a"):
            found[rows] = numbers
        for rows, numbers in tensors.blocks("a", shape[0] // 2, shape[0]):
            half[rows] = numbers
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(half, array[shape[0] // 2 :])


def test_a_cpu_takes_the_array_as_it_is():
    """No second copy: what was read is what the device holds."""
    array = weights._aligned((33, 5), np.float32)
    array[:] = 1.5
    on_device = jax.device_put(array)
    assert on_device.unsafe_buffer_pointer() == array.ctypes.data


def test_what_is_left_and_why(tmp_path):
    arrays = small.weights() | {
        "bert.embeddings.position_ids": np.arange(19)[None],
        "cls.predictions.decoder.weight": small.weights()["bert.embeddings.word_embeddings.weight"],
    }
    folder = small.folder(tmp_path, arrays)
    with prepared(folder, head="masked_lm") as plan:
        assert plan.unused == {
            "bert.embeddings.position_ids": "it only counts 0, 1, 2, …",
            "bert.pooler.dense.bias": "it belongs to the head pooled, which is not loaded",
            "bert.pooler.dense.weight": "it belongs to the head pooled, which is not loaded",
            "cls.seq_relationship.bias": "it belongs to the head next_sentence, which is not loaded",
            "cls.seq_relationship.weight": "it belongs to the head next_sentence, which is not loaded",
            "cls.predictions.decoder.weight": "it repeats embeddings.word_embeddings.weight",
        }
    assert xfm.load(folder, head="masked_lm").heads.keys() == {"masked_lm"}


def test_old_names(tmp_path):
    arrays = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in small.weights().items()
    }
    old, new = load(small.folder(tmp_path / "old", arrays)), load(small.folder(tmp_path / "new"))
    jax.tree.map(np.testing.assert_array_equal, old.params, new.params)
