"""`xfm convert`: the mapping, a folder of the Hub, a run of the trainer."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import xfm
from tests.cli.test_cli import SMALL, TINY
from tests.hub import small


@pytest.fixture
def trained(run, documents, tmp_path):
    workdir = tmp_path / "run"
    code, _, err = run("train", TINY, "--workdir", workdir, *SMALL, f"--config.data.path={documents}")
    assert code == 0, err
    return workdir


def test_the_mapping(run, tmp_path):
    folder = small.folder(tmp_path / "in")
    code, out, err = run("convert", folder, "--dry-run", "--head", "masked_lm")
    assert code == 0 and not err
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["bert.encoder.layer.2.output.dense.weight"] == ["24×40", "F32", "layers/mlp_1/part/down/kernel[2]"]
    assert rows["cls.predictions.bias"] == ["61", "F32", "head_mlm/bias"]
    assert "unused: it is of the head pooled, which is not loaded" in out
    assert rows.keys() == {"tensor", *small.weights()}
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_checkpoint(run, tmp_path):
    folder = small.folder(tmp_path / "in")
    code, out, err = run("convert", folder, tmp_path / "out", "--dtype", "bfloat16", "--head", "masked_lm")
    assert code == 0 and not out and str(tmp_path / "out") in err
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert len(load_file(tmp_path / "out" / "model.safetensors")) == len(small.weights()) - 4


def test_mistakes(refused, tmp_path):
    assert "DEST" in refused("convert", small.folder(tmp_path / "in"))
    assert "is no folder" in refused("convert", tmp_path / "no", tmp_path / "out")
    assert "no head 'spam'" in refused("convert", tmp_path / "in", tmp_path / "out", "--head", "spam")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.doc").write_text("mine")
    assert "diary.doc" in refused("convert", tmp_path / "in", tmp_path / "full")


def test_a_run(run, refused, trained, tmp_path):
    assert "a run is converted as it is" in refused("convert", trained, tmp_path / "out", "--head", "masked_lm")
    code, out, err = run("convert", trained, "--dry-run")
    assert code == 0 and "head_mlm/bias" in out and "cls.predictions.bias" in out
    code, out, err = run("convert", trained, tmp_path / "out")
    assert code == 0, err
    m = xfm.load(tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (
        config["architectures"] == ["BertForMaskedLM"] and config["vocab_size"] == 200 and config["pad_token_id"] == 0
    )
    assert list(m.heads) == ["masked_lm"]
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| loss (validation) |" in text and '"kind": "text"' in text and '"steps": 2' in text
    from xfm.train import evaluate

    result = evaluate(trained)
    kept = result.state.params["layers"]["mlp_1"]["part"]["down"]["kernel"]
    np.testing.assert_array_equal(m.params["layers"]["mlp_1"]["part"]["down"]["kernel"], kept)
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    ids = tokenizer.encode("the quick fox").ids
    assert ids[0] == config["cls_token_id"] and ids[-1] == config["sep_token_id"] and len(ids) > 4
    assert np.isfinite(np.asarray(m([ids])["masked_lm"])).all()


def test_a_run_that_no_family_has(refused, run, documents, tmp_path):
    data, other = f"--config.data.path={documents}", "--config.model.pattern.0.bias=False"
    code, _, err = run("train", TINY, "--workdir", tmp_path / "run", *SMALL, data, other)
    assert code == 0, err
    said = refused("convert", tmp_path / "run", tmp_path / "out")
    assert "bert: model.pattern.0.bias is" in said and not (tmp_path / "out").exists()
