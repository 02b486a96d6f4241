"""`xfm convert`: the mapping, a folder of the Hub, a run of the trainer."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import xfm
from tests.close import assert_close
from tests.hub import small
from xfm.train.record import read_record, write_record


def test_the_mapping(run, tmp_path):
    folder = small.folder(tmp_path / "in")
    code, out, err = run("convert", folder, "--dry-run", "--head", "masked_lm")
    assert code == 0 and not err
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["bert.encoder.layer.2.output.dense.weight"] == ["24×40", "F32", "layers/mlp_1/part/down/kernel[2]"]
    assert rows["cls.predictions.bias"] == ["61", "F32", "head_mlm/bias"]
    assert "unused: it belongs to the head pooled, which is not loaded" in out
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
    assert "is not a folder" in refused("convert", tmp_path / "no", tmp_path / "out")
    assert "no head 'spam'" in refused("convert", tmp_path / "in", tmp_path / "out", "--head", "spam")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.doc").write_text("mine")
    assert "diary.doc" in refused("convert", tmp_path / "in", tmp_path / "full")


def test_a_run(run, refused, trained, tmp_path):
    assert "a run is converted as a whole" in refused("convert", trained, tmp_path / "out", "--head", "masked_lm")
    before = {path: path.stat().st_mtime_ns for path in (trained, *trained.rglob("*"))}
    code, out, err = run("convert", trained, "--dry-run")
    assert before == {path: path.stat().st_mtime_ns for path in (trained, *trained.rglob("*"))}  # it may be read-only
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
    damaged = (trained / "tokenizer.json").read_text().replace('"quick"', '"quack"')
    (trained / "tokenizer.json").write_text(damaged)
    assert "tokenizer.json is damaged" in refused("convert", trained, tmp_path / "again")
    (trained / "tokenizer.json").unlink()
    assert "no tokenizer.json" in refused("convert", trained, tmp_path / "again")
    ids = tokenizer.encode("the quick fox").ids
    assert ids[0] == config["cls_token_id"] and ids[-1] == config["sep_token_id"] and len(ids) > 4
    assert np.isfinite(np.asarray(m([ids])["masked_lm"])).all()


def test_a_run_that_no_family_has(refused, trained, tmp_path):
    record = read_record(trained)
    record.config["model"]["pattern"][0]["scale"] = 1.0  # a network of the same parameters
    write_record(trained, record)
    said = refused("convert", trained, tmp_path / "out")
    assert "bert: model.pattern.0.scale is 1.0 and would be None" in said and not (tmp_path / "out").exists()


def train(run, workdir, config, *changes):
    """A run of two steps, and the checkpoint that it is converted to."""
    short = ("--config.steps=2", "--config.batch=8", "--config.schedule.warmup=0", "--config.data.tokenizer.size=300")
    words = ("--config.model.embed.vocab=300", *changes)
    code, _, err = run("train", config, "--workdir", workdir, *short, *words)
    assert code == 0, err
    code, _, err = run("convert", workdir, workdir / "out")
    assert code == 0, err
    return xfm.load(workdir / "out"), workdir / "out"


def test_a_run_of_another_family(run, documents, tmp_path):
    """RoBERTa counts positions from its id for padding, so two ids of the vocabulary are exchanged."""
    data = (f"--config.data.path={documents}", "--config.data.validation=0.2", "--config.model.heads.mlm.vocab=300")
    m, folder = train(run, tmp_path / "run", "text/roberta:tiny", *data)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["RobertaForMaskedLM"] and config["pad_token_id"] == 1
    assert m.tokenizer.pad_token_id == 1 and m.tokenizer.model_max_length == 32
    from xfm.train import evaluate

    trained = evaluate(tmp_path / "run").state.params
    words, dense = trained["embed"]["word"]["embedding"], trained["head_mlm"]["dense"]["bias"]
    np.testing.assert_array_equal(m.params["embed"]["word"]["embedding"][:3], np.asarray(words)[[1, 0, 2]])
    np.testing.assert_array_equal(m.params["head_mlm"]["dense"]["bias"], dense)


def test_a_run_that_classifies(run, tmp_path):
    """The classes have the names that the data gives them; what LoRA trained is merged, and a file of its own."""
    rows = [f"word {i}\t{'ab'[i % 2]}way\n" for i in range(200)]
    (tmp_path / "data.tsv").write_text("text\tlabel\n" + "".join(rows))
    two = ("--config.objective.classes=2", "--config.model.heads.label.classes=2")
    path = f"--config.data.path={tmp_path / 'data.tsv'}"
    lora = ("--config.transforms=[{'kind': 'lora'}]", "--config.transforms.0.rank=2", "--config.train_only=['^own/']")
    m, folder = train(run, tmp_path / "run", "text/finetune_classification:tiny", path, *two, *lora)
    assert m.config["id2label"] == {"0": "away", "1": "bway"} and m.config["label2id"] == {"away": 0, "bway": 1}
    assert m.config["architectures"] == ["BertForSequenceClassification"]
    assert m(input_ids=[[2, 7, 9, 3]])["logits"].shape == (1, 2)
    code, _, err = run("convert", tmp_path / "run", tmp_path / "own.npz")
    assert code == 0 and "own.npz" in err
    with np.load(tmp_path / "own.npz") as archive:
        kept = {name: archive[name].shape for name in archive.files if name != "config"}
    assert {name.rpartition("/")[0] for name in kept} == {f"own/layers/attention_0/part/{x}/lora" for x in "qv"}
    assert all(2 in shape for shape in kept.values())


def test_a_run_that_embeds(run, tmp_path):
    """Its pooling is a module of sentence-transformers."""
    rows = [json.dumps({"query": f"word {i}", "positive": f"the word {i}"}) for i in range(200)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows) + "\n")
    path = f"--config.data.path={tmp_path / 'pairs.jsonl'}"
    _, folder = train(run, tmp_path / "run", "text/finetune_retrieval:tiny", path, "--config.objective.among=4")
    encoder = xfm.sentence_encoder(folder)
    assert encoder.modules.pooling.modes == ("mean",) and encoder.max_seq_length == 32
    assert encoder.encode(["word 3"]).shape == (1, 128)
    opened = xfm.sentence_encoder(tmp_path / "run")
    assert opened.modules.pooling.modes == ("mean",) and opened.max_seq_length == 32
    assert_close(opened.encode(["word 3", "the word 5"]), encoder.encode(["word 3", "the word 5"]))
    record = read_record(tmp_path / "run")
    record.config["model"]["heads"]["vector"]["pool"] = {"kind": "cls"}
    write_record(tmp_path / "run", record)
    assert xfm.sentence_encoder(tmp_path / "run").modules.pooling.modes == ("cls",)
