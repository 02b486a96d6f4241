"""Evil and broken files: each ends in one sentence, before any parameter is made, and nothing hangs."""

import json
import re
import struct
import sys
import time

import ml_dtypes
import numpy as np
import pytest
from flax import serialization
from safetensors.numpy import save_file

import xfm
from tests.hub import small
from xfm.errors import XfmError
from xfm.hub import checkpoint as hub
from xfm.hub.files import Safetensors, header

WORD = "bert.embeddings.word_embeddings.weight"


@pytest.fixture(autouse=True)
def no_partial_model(monkeypatch):
    """Counts the parameters that are made."""
    made = []
    put = hub.jax.device_put
    monkeypatch.setattr(hub.jax, "device_put", lambda x: made.append(x) or put(x))
    return made


def refused(folder, *words, **how):
    """The one sentence with which a folder is refused; it has all of `words` in it."""
    began = time.monotonic()
    with pytest.raises(XfmError) as caught:
        xfm.load(folder, **how)
    text = str(caught.value)
    assert time.monotonic() - began < 20
    assert "\n" not in text and all(word in text for word in words), text
    return text


def raw(path, content, data=b""):
    """A safetensors file with any header."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(start, stop, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


class TestSafetensors:
    @pytest.mark.parametrize("keep", [0, 4, 200, -1])
    def test_truncated(self, tmp_path, no_partial_model, keep):
        file = small.folder(tmp_path) / "model.safetensors"
        file.write_bytes(file.read_bytes()[:keep])
        refused(tmp_path, "model.safetensors", "damaged")
        assert not no_partial_model

    def test_cut_off_after_it_was_opened(self, tmp_path):
        file = small.folder(tmp_path) / "model.safetensors"
        with pytest.raises(XfmError, match="ends within"):
            tensors = Safetensors(header(file))
            file.write_bytes(file.read_bytes()[:3000])
            [list(tensors.blocks(name)) for name in tensors]

    @pytest.mark.parametrize(
        "content, size",
        [
            ({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, 12),  # overlap
            ({"a": entry(0, 8, [2]), "b": entry(12, 20, [2])}, 20),  # a hole
            ({"a": entry(0, 2**62, [2**60])}, 8),  # past the end
            ({"a": entry(0, 8, [3])}, 8),  # shape and size differ
            ({"a": entry(0, 8, [2**63, 2])}, 8),  # overflow
            ({"a": entry(0, 8, [2])}, 20),  # bytes at the end
            (b"[1, 2]", 0),
            (b"{" * 100_000, 0),
        ],
    )
    def test_inconsistent(self, tmp_path, no_partial_model, content, size):
        raw(small.folder(tmp_path) / "model.safetensors", content, bytes(size))
        refused(tmp_path, "model.safetensors", "damaged")
        assert not no_partial_model

    def test_a_header_of_any_size(self, tmp_path):
        (small.folder(tmp_path) / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
        refused(tmp_path, "model.safetensors", "damaged")

    def test_a_name_twice(self, tmp_path, no_partial_model):
        one = json.dumps(entry(0, 8, [2]))
        raw(small.folder(tmp_path) / "model.safetensors", f'{{"a": {one}, "a": {one}}}'.encode(), bytes(8))
        refused(tmp_path, "model.safetensors lists 'a' twice")
        assert not no_partial_model

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
    def test_not_finite(self, tmp_path, value, dtype):
        arrays = small.weights()
        arrays["cls.seq_relationship.bias"] = np.array([0.5, value]).astype(dtype)
        refused(small.folder(tmp_path, arrays), "NaN or infinity in cls.seq_relationship.bias")

    def test_a_buffer_without_numbers(self, tmp_path):
        """It says nothing wrong, so it is as good as none."""
        arrays = small.weights() | {"bert.embeddings.position_ids": np.zeros((0, 4), np.int64)}
        assert xfm.load(small.folder(tmp_path, arrays)).params.keys() == {
            "embed",
            "head_mlm",
            "head_nsp",
            "head_pooled",
            "layers",
        }

    def test_large_numbers_are_finite(self, tmp_path):
        arrays = small.weights()
        arrays["cls.seq_relationship.bias"] = np.float32([3e38, 3e38])
        m = xfm.load(small.folder(tmp_path, arrays))
        assert float(m.params["head_nsp"]["out"]["bias"][0]) == np.float32(3e38)

    @pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_])
    def test_wrong_dtype(self, tmp_path, no_partial_model, dtype):
        arrays = small.weights()
        arrays["cls.seq_relationship.bias"] = np.zeros(2, dtype)
        refused(small.folder(tmp_path, arrays), "cls.seq_relationship.bias", "F32, F16, BF16")
        assert not no_partial_model

    def test_names_are_no_paths(self, tmp_path, no_partial_model):
        arrays = small.weights() | {"../../../outside": np.zeros(2, np.float32)}
        refused(small.folder(tmp_path, arrays), "../../../outside", "does not use")
        assert not no_partial_model


class TestIndex:
    def index(self, tmp_path, weight_map, arrays=None):
        file = small.folder(tmp_path, arrays) / "model.safetensors"
        file.rename(tmp_path / "model-00001-of-00001.safetensors")
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        return tmp_path

    @pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", ".."])
    def test_a_file_elsewhere(self, tmp_path, no_partial_model, name):
        small.folder(tmp_path).joinpath("model.safetensors").rename(tmp_path / "other.safetensors")
        refused(self.index(tmp_path / "inner", {WORD: name}), repr(name), "beside the index")
        assert not no_partial_model

    def test_a_missing_shard(self, tmp_path):
        refused(self.index(tmp_path, {WORD: "model-2.safetensors"}), "model-2.safetensors", "not there")

    def test_a_tensor_that_is_not_there(self, tmp_path):
        refused(self.index(tmp_path, {"a": "model-00001-of-00001.safetensors"}), "has 'a', but it does not")

    @pytest.mark.parametrize("content", ["{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[]", "{"])
    def test_no_map(self, tmp_path, content):
        folder = self.index(tmp_path, {})
        (folder / "model.safetensors.index.json").write_text(content)
        refused(folder, "model.safetensors.index.json")

    def test_a_good_one(self, tmp_path):
        whole = dict.fromkeys(small.weights(), "model-00001-of-00001.safetensors")
        assert set(xfm.load(self.index(tmp_path, whole)).heads) == {"pooled", "masked_lm", "next_sentence"}


class TestPickles:
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
    def test_only_a_pickle(self, tmp_path, name):
        small.folder(tmp_path).joinpath("model.safetensors").unlink()
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch evil'\ntR.")
        refused(tmp_path, name, "refs/pr/N", "flax_model.msgpack", "save_pretrained")

    def test_nothing(self, tmp_path):
        small.folder(tmp_path).joinpath("model.safetensors").unlink()
        refused(tmp_path, "no weights")
        refused(tmp_path / "elsewhere", "is not a folder")


class TestConfig:
    @pytest.mark.parametrize("content", ["", "{", "[1]", '"bert"', "\xff", '{"a": NaN'])
    def test_broken_json(self, tmp_path, content):
        (small.folder(tmp_path) / "config.json").write_bytes(content.encode("latin-1"))
        refused(tmp_path, "config.json")

    def test_none(self, tmp_path):
        (small.folder(tmp_path) / "config.json").unlink()
        refused(tmp_path, "has no config.json")

    @pytest.mark.parametrize("kind", [None, "bret", "llama", ["bert"], {"a": 1}])
    def test_unknown_model_type(self, tmp_path, no_partial_model, kind):
        text = refused(small.folder(tmp_path, model_type=kind), "model_type", "docs/works.md")
        assert kind != "bret" or "did you mean 'bert'" in text
        assert not no_partial_model

    def test_another_family(self, tmp_path, no_partial_model):
        refused(small.folder(tmp_path, model_type="distilbert"), "config.json")
        assert not no_partial_model

    @pytest.mark.parametrize(
        "changes",
        [
            dict(hidden_size=48), dict(num_hidden_layers=4), dict(num_hidden_layers=2), dict(vocab_size=10**30),
            dict(num_hidden_layers=10**9), dict(hidden_size="24"), dict(hidden_size=-24), dict(hidden_size=None),
            dict(num_attention_heads=0), dict(num_attention_heads=5), dict(hidden_act="exec"),
            dict(hidden_act=["gelu"]), dict(vocab_size=60), dict(type_vocab_size=-1),
            dict(num_hidden_layers=0), dict(num_hidden_layers=2.5),
            dict(layer_norm_eps="small"), dict(architectures=3),
        ],
    )  # fmt: skip
    def test_other_sizes(self, tmp_path, no_partial_model, changes):
        refused(small.folder(tmp_path, **changes))
        assert not no_partial_model

    @pytest.mark.parametrize("changes", [dict(position_embedding_type="relative_key"), dict(is_decoder=True)])
    def test_arithmetic_that_is_not_here(self, tmp_path, no_partial_model, changes):
        refused(small.folder(tmp_path, **changes), *changes)
        assert not no_partial_model

    def test_a_key_that_nobody_knows(self, tmp_path, no_partial_model):
        folder = small.folder(tmp_path, softmax_temperature=2.0)
        refused(folder, "softmax_temperature", "ignore=")
        assert not no_partial_model
        xfm.load(folder, ignore=("softmax_temperature",))


class TestTensors:
    def test_missing(self, tmp_path, no_partial_model):
        arrays = {name: a for name, a in small.weights().items() if "layer.1" not in name}
        refused(small.folder(tmp_path, arrays), "lacks encoder.layer.1.attention", "8 more")
        assert not no_partial_model

    def test_unused(self, tmp_path, no_partial_model):
        arrays = small.weights() | {"bert.encoder.layer.0.adapter.weight": np.zeros((2, 2), np.float32)}
        refused(small.folder(tmp_path, arrays), "encoder.layer.0.adapter.weight", "does not use")
        assert not no_partial_model

    def test_another_shape(self, tmp_path, no_partial_model):
        arrays = small.weights()
        arrays[WORD] = np.ascontiguousarray(arrays[WORD].T)
        refused(small.folder(tmp_path, arrays), WORD, "(24, 61)", "(61, 24)")
        assert not no_partial_model

    def test_two_names_of_one(self, tmp_path):
        arrays = small.weights()
        arrays["embeddings.word_embeddings.weight"] = arrays[WORD]
        refused(small.folder(tmp_path, arrays), "names of the same tensor")

    def test_a_tied_tensor_that_differs(self, tmp_path):
        arrays = small.weights() | {"cls.predictions.decoder.weight": small.weights()[WORD] + 1}
        refused(small.folder(tmp_path, arrays), "differs from", "tie_word_embeddings")

    def test_a_tied_tensor_that_is_the_same(self, tmp_path):
        xfm.load(small.folder(tmp_path, small.weights() | {"cls.predictions.decoder.weight": small.weights()[WORD]}))

    def test_a_head_that_is_not_there(self, tmp_path):
        folder = small.folder(tmp_path)
        refused(folder, "do not have the head 'token_classification'", head="token_classification")
        refused(folder, "did you mean 'masked_lm'", head="maskedlm")
        refused(folder, "revision", revision="main")


def flax_tree(arrays):
    """The parameters as the Flax models of transformers 4 kept them."""
    tree = {}
    for name, array in arrays.items():
        *places, leaf = name.split(".")
        if leaf == "weight":
            norm, table = "LayerNorm" in places, "embeddings" in places[-1]
            leaf = "scale" if norm else "embedding" if table else "kernel"
            array = array.T if leaf == "kernel" else array
        node = tree
        for place in places:
            node = node.setdefault(place, {})
        node[leaf] = np.ascontiguousarray(array)
    return tree


class TestMsgpack:
    def write(self, tmp_path, content):
        small.folder(tmp_path).joinpath("model.safetensors").unlink()
        content = content if isinstance(content, bytes) else serialization.msgpack_serialize(content)
        (tmp_path / "flax_model.msgpack").write_bytes(content)
        return tmp_path

    def test_good(self, tmp_path):
        m = xfm.load(self.write(tmp_path / "flax", flax_tree(small.weights())))
        same = xfm.load(small.folder(tmp_path / "safe"))
        hub.jax.tree.map(np.testing.assert_array_equal, m.params, same.params)

    @pytest.mark.parametrize("keep", [0, 1, 500, -1])
    def test_truncated(self, tmp_path, no_partial_model, keep):
        content = serialization.msgpack_serialize(flax_tree(small.weights()))
        refused(self.write(tmp_path, content[:keep]), "flax_model.msgpack")
        assert not no_partial_model

    @pytest.mark.parametrize(
        "content",
        [
            b"\x93\x01\x02\x03",
            b"\x91" * 5000,
            b"\xc7\x03\x01abc",
            {"a": 3},
            {"a": {"b": "c"}},
            {"params": 3},
            b"\xff" * 99,
        ],
    )
    def test_something_else(self, tmp_path, no_partial_model, content):
        refused(self.write(tmp_path, content), "flax_model.msgpack")
        assert not no_partial_model

    def test_nan_and_integers(self, tmp_path):
        arrays = small.weights()
        arrays["cls.seq_relationship.bias"] = np.float32([0, np.nan])
        refused(self.write(tmp_path / "a", flax_tree(arrays)), "NaN or infinity")
        arrays["cls.seq_relationship.bias"] = np.array([0, 1])
        refused(self.write(tmp_path / "b", flax_tree(arrays)), "int64")


@pytest.fixture(scope="module")
def m(tmp_path_factory):
    return xfm.load(small.folder(tmp_path_factory.mktemp("bert")))


@pytest.mark.parametrize(
    "words, how",
    [("not 'fp16'", dict(dtype="fp16")), ("give ('rope_scaling',)", dict(ignore="rope_scaling"))],
)
def test_a_wrong_argument_is_not_blamed_on_the_files(words, how, tmp_path):
    assert "config.json" not in refused(small.folder(tmp_path), words, **how)


class TestInputs:
    @pytest.mark.parametrize(
        "words, given",
        [
            ("input_ids contain 61; this checkpoint has 0 to 60", dict(input_ids=[[5, 61]])),
            ("input_ids contain -1", dict(input_ids=[[5, -1]])),
            ("whole numbers", dict(input_ids=[[0.5, 2.0]])),
            ("[batch, length]", dict(input_ids=[5, 6])),
            ("input_ids have rows of different lengths; pad them", dict(input_ids=[[5, 6], [7]])),
            ("input_ids are None", dict(input_ids=None)),
            ("token_type_ids contain 3", dict(input_ids=[[5, 6]], token_type_ids=[[0, 3]])),
            ("attention_mask have the shape (1, 3)", dict(input_ids=[[5, 6]], attention_mask=[[1, 1, 1]])),
            ("positions contain 19", dict(input_ids=[[5] * 20])),
            ("positions contain 99", dict(input_ids=[[5, 6]], position_ids=[[0, 99]])),
        ],
    )
    def test_out_of_range(self, m, words, given):
        with pytest.raises(XfmError, match=re.escape(words)):
            m(**given)


class TestHub:
    """A name on the Hub: what huggingface_hub is asked for, and what is said where it cannot help."""

    @pytest.fixture
    def served(self, tmp_path, monkeypatch):
        asked = []
        huggingface_hub = pytest.importorskip("huggingface_hub")

        def snapshot_download(name, *, revision=None, allow_patterns=None):
            asked.append((name, revision, allow_patterns))
            return str(small.folder(tmp_path / "cache"))

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return asked

    def test_a_name_and_a_revision(self, served):
        xfm.load("google-bert/bert-base-uncased", revision="refs/pr/7")
        ((name, revision, patterns),) = served
        assert (name, revision) == ("google-bert/bert-base-uncased", "refs/pr/7")
        assert not any(pattern.endswith((".bin", ".msgpack", "*")) for pattern in patterns)

    def test_the_flax_file_only_without_safetensors(self, tmp_path, monkeypatch):
        asked = []
        huggingface_hub = pytest.importorskip("huggingface_hub")

        def snapshot_download(name, *, revision=None, allow_patterns=None):
            asked.append(allow_patterns)
            small.folder(tmp_path).joinpath("model.safetensors").unlink()
            if "flax_model.msgpack" in allow_patterns:
                content = serialization.msgpack_serialize(flax_tree(small.weights()))
                (tmp_path / "flax_model.msgpack").write_bytes(content)
            return str(tmp_path)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        xfm.load("google/electra-small")
        assert len(asked) == 2 and asked[1] == ["flax_model.msgpack"]

    @pytest.mark.parametrize("error", [OSError("no route"), ValueError(""), RuntimeError("404\nfor you")])
    def test_an_error_there_is_one_sentence_here(self, monkeypatch, error):
        huggingface_hub = pytest.importorskip("huggingface_hub")

        def snapshot_download(*_, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        refused("somebody/something", "could not be fetched from the Hub")
        refused("somebody/something", "at revision 'v2'", revision="v2")

    def test_offline(self, tmp_path, monkeypatch):
        constants = pytest.importorskip("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        refused("somebody/something", "somebody/something is not a folder here", "HF_HUB_OFFLINE is set")

    def test_without_the_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        refused("somebody/something", "pip install 'xfm[hub]'")

    @pytest.mark.parametrize(
        "name",
        [
            "a/b/c",
            "../x",
            "a b",
            "",
            "https://a.b/c",
            "/no/such",
            "~/no/such/thing",
            "~nobody-of-this-name/x",
            "a/../b",
        ],
    )
    def test_names_that_are_none(self, name, monkeypatch, served):
        refused(name, "folder")
        assert not served


def test_every_dtype_is_read(tmp_path):
    for dtype in (np.float64, np.float16, ml_dtypes.bfloat16):
        folder = tmp_path / np.dtype(dtype).name
        arrays = {name: a.astype(dtype) for name, a in small.weights().items()}
        folder.mkdir()
        save_file(arrays, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(small.config()))
        m = xfm.load(folder)
        table = np.asarray(m.params["embed"]["word"]["embedding"])
        np.testing.assert_array_equal(table, arrays[WORD].astype(np.float32))
