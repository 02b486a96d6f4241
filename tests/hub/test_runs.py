"""Runs of the trainer, opened with xfm.load and written for the Hub, in the family that they started from."""

import json
import shutil

import jax
import numpy as np
import pytest

import xfm
from tests.close import assert_close
from tests.hub import small
from tests.train.test_start import WORDS, checkpoint
from xfm.configs.text import finetune_classification
from xfm.convert.command import convert
from xfm.errors import XfmError
from xfm.train import train
from xfm.train.record import read_record, write_record

TEXTS = ["w1 w2 w3 w4 w5 w6", "w7", "w9 w3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, result) of text/finetune_classification on a small XLM-R, whose positions follow from padding."""
    root = tmp_path_factory.mktemp("xlmr")
    folder = checkpoint(root / "hub", "xlm_roberta_tags", "[CLS] $A [SEP] [SEP] $B [SEP]")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 12}')
    rows = [dict(text=" ".join(WORDS[: 1 + i % 6]), label=("low", "high", "none")[i % 3]) for i in range(40)]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    c = finetune_classification.get_config("base")
    c.start.update(source=str(folder), drop=0.0)
    c.objective.classes = c.model.heads.label.classes = 3
    c.data.update(path=str(root / "rows.jsonl"), length=12, classes=("low", "none", "high"))
    c.batch, c.steps, c.ema, c.mesh = 8, 2, 0.5, dict(data=1, model=8)
    c.schedule.update(warmup=0, peak=1e-2)
    c.eval_every = c.save_every = 2
    return root / "run", train(c, root / "run")


def test_a_run_opens_like_a_checkpoint(trained):
    """With the weights that evaluation uses, and with the tokeniser and the classes that it was trained with."""
    workdir, result = trained
    m = xfm.load(workdir)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(m.params))  # so that a call does not move them again
    assert m.family.model_type == "xlm-roberta" and m.config["id2label"] == {"0": "low", "1": "none", "2": "high"}
    np.testing.assert_array_equal(
        m.params["embed"]["word"]["embedding"], result.state.ema["embed"]["word"]["embedding"]
    )
    batch = m.tokenizer(TEXTS)
    logits = np.asarray(m(**batch)["logits"])
    assert logits.shape == (3, 3) and batch["attention_mask"].sum() == 8 + 3 + 4
    alone = np.asarray(m(**m.tokenizer(TEXTS[1]))["logits"])
    assert_close(logits[1], alone[0])
    with pytest.raises(XfmError, match="is a run; head, revision and ignore can only"):
        xfm.load(workdir, head="masked_lm")


def test_it_leaves_as_the_family_that_it_started_from(trained, tmp_path):
    """Also where its source is gone from config.json: the tokeniser's files say what the family would have known."""
    workdir, _ = trained
    folder = convert(workdir, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("xlm-roberta", ["XLMRobertaForSequenceClassification"])
    assert config["id2label"] == {"0": "low", "1": "none", "2": "high"} and config["pad_token_id"] == 1
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast" and settings["model_max_length"] == 12
    assert (settings["pad_token"], settings["padding_side"], settings["truncation_side"]) == ("[PAD]", "right", "right")
    one, other = xfm.load(workdir), xfm.load(folder)
    batch = other.tokenizer(TEXTS)
    np.testing.assert_array_equal(batch["input_ids"], one.tokenizer(TEXTS)["input_ids"])
    assert_close(np.asarray(other(**batch)["logits"]), np.asarray(one(**batch)["logits"]))


def test_a_run_of_no_family_opens_as_it_is(trained, tmp_path):
    workdir, _ = trained
    other = shutil.copytree(workdir, tmp_path / "run")
    record = read_record(other)
    record.config["start"]["family"] = "bert"  # which counts positions otherwise
    write_record(other, record)
    with pytest.raises(XfmError, match="the Hub's bert does not have this network"):
        convert(other, tmp_path / "out")
    m = xfm.load(other)
    assert m.family.model_type == "xfm" and list(m.heads) == ["sequence_classification"]
    assert m.config["id2label"] == {"0": "low", "1": "none", "2": "high"}
    known = xfm.load(workdir)
    batch = m.tokenizer(TEXTS)
    real = batch["attention_mask"] > 0
    mine, theirs = m(**batch), known(**batch)
    assert_close(np.asarray(mine["logits"]), np.asarray(theirs["logits"]))
    assert_close(np.asarray(mine["last_hidden_state"])[real], np.asarray(theirs["last_hidden_state"])[real])
    with pytest.raises(XfmError, match="no family of the Hub has the network of"):
        m.save(tmp_path / "out")


def test_gpt2_names_its_padding(tmp_path):
    """GPT-2's files name no token for padding; what was trained with one says so."""
    from xfm.convert.export import copy_tokenizer

    folder = checkpoint(tmp_path / "hub", "gpt2_lm")
    content = json.loads((folder / "tokenizer.json").read_text())
    swap = {"[PAD]": "<|endoftext|>"}
    content["model"]["vocab"] = {swap.get(word, word): i for word, i in content["model"]["vocab"].items()}
    content["added_tokens"] = [token | {"content": swap.get(token["content"], token["content"])}
                               for token in content["added_tokens"]]  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps(small.config("gpt2_lm", pad_token_id=None)))
    (tmp_path / "out").mkdir()
    assert copy_tokenizer(folder, tmp_path / "out", 0)["pad_token_id"] == 0
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings["pad_token"] == "<|endoftext|>"
