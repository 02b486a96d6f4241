"""Saving: exact to the bit, whole or not at all, and what transformers loads as its own."""

import errno
import json
import os

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import xfm
from tests.hub import small
from xfm.errors import XfmError
from xfm.hub import saving
from xfm.hub.families import FAMILIES
from xfm.hub.saving import class_of

GOLDENS = sorted(path.stem for path in small.GOLDENS.glob("*.npz"))


def tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def config(folder):
    return json.loads((folder / "config.json").read_text())


def changed(params, change):
    """The parameters after a change by NumPy, for which nothing is compiled, on the device again."""
    return jax.device_put(jax.tree.map(lambda x: change(np.asarray(x)), params))


@pytest.mark.parametrize("name", GOLDENS)
def test_what_is_written_is_what_was_read(name, tmp_path):
    """Names, shapes and bits of every tensor; a tied one, or one that the family leaves out, may be missing."""
    before = small.weights(name)
    m = xfm.load(small.folder(tmp_path / "in", name=name))
    after = load_file(m.save(tmp_path / "out") / "model.safetensors")
    assert after.keys() <= before.keys()
    for one in before.keys() - after.keys():
        short = m.family.today(one)
        assert short in m.family.files.tied or xfm.hub.weights._spare(m.family, m.heads, short), one
    for one, array in after.items():
        assert array.shape == before[one].shape and array.tobytes() == before[one].tobytes(), one
    if name != "t5_whole":
        assert config(tmp_path / "out") == config(tmp_path / "in")
    again = xfm.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, again.params, m.params)
    assert tuple(again.heads) == tuple(m.heads)


@pytest.mark.parametrize(
    "name,head,kind,model_type",
    [
        ("clip_whole", "text_embeds", "CLIPTextModelWithProjection", "clip_text_model"),
        ("siglip_whole", "text_embeds", "SiglipTextModel", "siglip_text_model"),
        ("t5_whole", None, "T5EncoderModel", "t5"),
    ],
)
def test_the_part_of_a_whole_is_written_as_what_it_is(name, head, kind, model_type, tmp_path):
    m = xfm.load(small.folder(tmp_path / "in", name=name), head=head)
    m.save(tmp_path / "out")
    said = config(tmp_path / "out")
    assert (said["architectures"], said["model_type"]) == ([kind], model_type)
    if model_type != "t5":
        wide = {"projection_dim": 6} if name == "clip_whole" else {}
        kept = m.config["text_config"] | {"architectures": [kind], "model_type": model_type, "dtype": "float32"} | wide
        assert said == kept
    ids = np.arange(10).reshape(2, 5) + 30
    before, after = m(input_ids=ids), xfm.load(tmp_path / "out")(input_ids=ids)
    if name == "siglip_whole":  # whose only head has another name in a file of the tower alone
        before["pooled"] = before.pop("text_embeds")
    assert before.keys() <= after.keys()
    for task, value in before.items():
        np.testing.assert_array_equal(value, after[task])


@pytest.mark.parametrize("name,prefix", [("clip_text", "text_model."), ("bert_model", "bert."), ("gpt2_lm", "")])
def test_what_stands_before_the_names_stays(name, prefix, tmp_path):
    """A file without a head may have the prefix, and one with a head may lack it, as GPT-2's does."""
    before = {f"{prefix}{one.removeprefix('transformer.')}": array for one, array in small.weights(name).items()}
    m = xfm.load(small.folder(tmp_path / "in", before, name=name))
    assert load_file(m.save(tmp_path / "out") / "model.safetensors").keys() == before.keys()


@pytest.mark.parametrize("one", ["bfloat16", "float16"])
def test_the_dtype_of_the_files_stays(one, tmp_path):
    """To the bit, and tensor by tensor; what is changed to another dtype on the device is saved in that."""
    before = {name: array.astype(saving.DTYPES[one]) for name, array in small.weights().items()}
    before["cls.predictions.bias"] = before["cls.predictions.bias"].astype(np.float32)
    m = xfm.load(small.folder(tmp_path / "in", before, dtype=one))
    after = load_file(m.save(tmp_path / "out") / "model.safetensors")
    assert all(after[name].dtype == x.dtype and after[name].tobytes() == x.tobytes() for name, x in before.items())
    assert config(tmp_path / "out") == config(tmp_path / "in")
    m.save(tmp_path / "wide", dtype="float32")
    assert {x.dtype for x in load_file(tmp_path / "wide" / "model.safetensors").values()} == {np.dtype(np.float32)}


def test_in_several_files(tmp_path):
    m = xfm.load(small.folder(tmp_path / "in"))
    m.save(tmp_path / "out", largest=8000)
    files = sorted(tmp_path.glob("out/*.safetensors"))
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    arrays = [load_file(file) for file in files]
    assert files[0].name == f"model-00001-of-{len(files):05}.safetensors" and len(files) > 3
    assert index["metadata"]["total_size"] == sum(a.nbytes for one in arrays for a in one.values())
    assert index["weight_map"] == {name: f.name for f, one in zip(files, arrays, strict=True) for name in sorted(one)}
    assert all(sum(a.nbytes for a in one.values()) <= 8000 or len(one) == 1 for one in arrays)
    jax.tree.map(np.testing.assert_array_equal, xfm.load(tmp_path / "out").params, m.params)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_dtype(tmp_path, dtype):
    m = xfm.load(small.folder(tmp_path / "in"))
    m.save(tmp_path / "out", dtype=dtype)
    kept = load_file(tmp_path / "out" / "model.safetensors")
    assert {a.dtype for a in kept.values()} == {np.dtype(saving.DTYPES[dtype])}
    assert config(tmp_path / "out")["dtype"] == dtype
    xfm.load(tmp_path / "out").save(tmp_path / "again", dtype=dtype)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "out" / "model.safetensors"
    ).read_bytes()
    with pytest.raises(XfmError, match="did you mean 'float16'"):
        m.save(tmp_path / "out", dtype="flot16")


def test_numbers_too_large_for_the_dtype(tmp_path):
    arrays = small.weights() | {"cls.seq_relationship.bias": np.float32([0, 1e6])}
    m = xfm.load(small.folder(tmp_path / "in", arrays))
    with pytest.raises(XfmError, match="cls.seq_relationship.bias has numbers too large for float16"):
        m.save(tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    m.save(tmp_path / "out", dtype="bfloat16")


def test_the_class_is_that_of_the_heads(tmp_path):
    folder = small.folder(tmp_path / "in")
    found = {}
    for head in (None, "masked_lm", "next_sentence", "pooled"):
        found[head] = config(xfm.load(folder, head=head).save(tmp_path / str(head)))["architectures"]
    assert found == {
        None: ["BertForPreTraining"],
        "masked_lm": ["BertForMaskedLM"],
        "next_sentence": ["BertForNextSentencePrediction"],
        "pooled": ["BertModel"],
    }
    assert "bert.embeddings.word_embeddings.weight" in load_file(tmp_path / "masked_lm" / "model.safetensors")
    assert "embeddings.word_embeddings.weight" in load_file(tmp_path / "pooled" / "model.safetensors")


def test_a_class_that_nobody_knows_stays():
    assert class_of(FAMILIES["bert"], ("pooled",), ["TheirBert"]) == "TheirBert"
    assert class_of(FAMILIES["bert"], ("pooled",), []) is None


def test_the_old_name_of_the_dtype_stays(tmp_path):
    old = {k: v for k, v in small.config().items() if k != "dtype"} | {"torch_dtype": "float16"}
    folder = small.folder(tmp_path / "in")
    (folder / "config.json").write_text(json.dumps(old))
    assert config(xfm.load(folder).save(tmp_path / "out")) == old | {"torch_dtype": "float32"}


def test_the_tokeniser_and_the_card_come_along(tmp_path):
    folder = small.folder(tmp_path / "in")
    kept = {"tokenizer.json": "{}", "vocab.txt": "[PAD]\n", "modules.json": "[]", "1_Pooling/config.json": "{}"}
    left = {"optimizer.txt": "x", "secret.env": "x", "pytorch_model.bin": "x", "onnx/model.onnx": "x"}
    for name, content in (kept | left).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: el\n---\n\n# Theirs\n\nTrained on books.\n")
    m = xfm.load(folder)
    m.save(tmp_path / "out", about={"data": {"path": "books"}, "metrics": {"accuracy": 0.5}})
    found = tree(tmp_path / "out")
    assert found.keys() == {*kept, "config.json", "model.safetensors", "README.md"}
    assert all(found[name].decode() == content for name, content in kept.items())
    text = found["README.md"].decode()
    assert text.startswith("---\nlicense: mit\nlanguage: el\n---\n")
    for words in ("| accuracy | 0.5 |", '"path": "books"', "Trained on books.", '"vocab_size": 61', "masked_lm"):
        assert words in text


class TestWholeOrNotAtAll:
    @pytest.fixture
    def m(self, tmp_path):
        return xfm.load(small.folder(tmp_path / "in"))

    def test_a_checkpoint_is_replaced(self, m, tmp_path):
        m.save(tmp_path / "out", largest=8000)
        m.save(tmp_path / "out")
        assert tree(tmp_path / "out").keys() == {"config.json", "model.safetensors", "README.md"}
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]

    def test_its_own_source(self, m, tmp_path):
        before = load_file(tmp_path / "in" / "model.safetensors")
        m.save(tmp_path / "in")
        after = load_file(tmp_path / "in" / "model.safetensors")
        assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k]) for k in before)

    @pytest.mark.parametrize("name", ["notes.txt.orig", "src/main.py", ".git/config", "metrics.jsonl"])
    def test_other_things_stay(self, m, tmp_path, name):
        (tmp_path / "out" / name).parent.mkdir(parents=True)
        (tmp_path / "out" / name).write_text("mine")
        with pytest.raises(XfmError, match="not a file of a checkpoint"):
            m.save(tmp_path / "out")
        assert tree(tmp_path / "out") == {name: b"mine"}

    def test_a_link_stays_a_link(self, m, tmp_path, monkeypatch):
        """What it points to is replaced; and the folder that is returned is the one that was written."""
        monkeypatch.setenv("HOME", str(tmp_path))
        m.save(tmp_path / "out")
        (tmp_path / "link").symlink_to("out")
        assert m.save("~/link", largest=8000) == tmp_path / "link"
        assert (tmp_path / "link").is_symlink() and "model.safetensors" not in tree(tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "link", "out"]

    def test_a_file_of_that_name(self, m, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(XfmError, match="is a file; give a new folder"):
            m.save(tmp_path / "out")
        assert (tmp_path / "out").read_text() == "mine"

    @pytest.mark.parametrize("where", ["write_weights", "card", "_sync"])
    def test_a_full_disk_costs_nothing(self, m, tmp_path, monkeypatch, where):
        m.save(tmp_path / "out")
        before, whole = tree(tmp_path / "out"), getattr(saving, where)

        def full(*given):
            whole(*given)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(saving, where, full)
        with pytest.raises(XfmError, match="No space left on device") as caught:
            m.replace(params=changed(m.params, lambda x: x + 1)).save(tmp_path / "out")
        assert "\n" not in str(caught.value) and tree(tmp_path / "out") == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]

    def test_a_rename_that_fails_brings_the_old_one_back(self, m, tmp_path, monkeypatch):
        m.save(tmp_path / "out")
        before, rename = tree(tmp_path / "out"), saving.Path.rename

        def failing(self, target):
            if ".new-" in self.name:
                raise OSError(errno.EIO, "input/output error")
            return rename(self, target)

        monkeypatch.setattr(saving.Path, "rename", failing)
        with pytest.raises(XfmError, match="could not be written"):
            m.save(tmp_path / "out")
        assert tree(tmp_path / "out") == before

    def test_a_kill_while_writing(self, m, tmp_path, monkeypatch):
        m.save(tmp_path / "out")
        before = tree(tmp_path / "out")
        monkeypatch.setattr(saving, "card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            m.save(tmp_path / "out")
        assert tree(tmp_path / "out") == before


def test_bfloat16_parameters_are_saved_as_they_are(tmp_path):
    m = xfm.load(small.folder(tmp_path / "in"))
    m = m.replace(params=changed(m.params, lambda x: x.astype(ml_dtypes.bfloat16)))
    m.save(tmp_path / "out")
    assert config(tmp_path / "out")["dtype"] == "bfloat16"
    assert load_file(tmp_path / "out" / "model.safetensors")["cls.predictions.bias"].dtype == ml_dtypes.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GOLDENS if name.startswith("bert_")])
@pytest.mark.parametrize("largest", [10**9, 9000])
def test_transformers_loads_it(name, largest, tmp_path):
    """Changed parameters, saved by xfm, give transformers what they give xfm; nothing missing, nothing too much."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    m = xfm.load(small.folder(tmp_path / "in", name=name))
    m = m.replace(params=changed(m.params, lambda x: x * np.float32(1.01)))
    m.save(tmp_path / "out", largest=largest)
    (kind,) = config(tmp_path / "out")["architectures"]
    theirs, report = getattr(transformers, kind).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    with np.load(small.GOLDENS / f"{name}.npz") as file:
        inputs = {key.removeprefix("input/"): file[key] for key in file.files if key.startswith("input/")}
    with torch.no_grad():
        answer = theirs(**{key: torch.tensor(a, dtype=torch.long) for key, a in inputs.items()})
    ours = m(**inputs)
    names = {"pooler_output": "pooled", "prediction_logits": "masked_lm", "seq_relationship_logits": "next_sentence"}
    for key, value in answer.items():
        mine, value = np.asarray(ours[names.get(key, key)]), value.numpy()
        if mine.shape[:2] == inputs["attention_mask"].shape:
            mine, value = mine[inputs["attention_mask"] > 0], value[inputs["attention_mask"] > 0]
        np.testing.assert_allclose(mine, value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=key)


def test_a_file_of_transformers_and_one_of_ours_are_one_format(tmp_path):
    """The metadata that transformers asks for is there."""
    from safetensors import safe_open

    m = xfm.load(small.folder(tmp_path / "in"))
    m.save(tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
    save_file(small.weights(), tmp_path / "plain.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "plain.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()
