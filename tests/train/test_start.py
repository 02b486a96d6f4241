"""Starting from a checkpoint: the encoder and its tokeniser are the checkpoint's, heads are fresh or its own."""

import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import xfm.hub
from tests.close import assert_close
from tests.hub import small
from xfm.configs.text.finetune_classification import classifier
from xfm.errors import XfmError
from xfm.train import evaluate, train
from xfm.train.loop import restore
from xfm.train.paths import flatten
from xfm.train.run import setup

tokenizers = pytest.importorskip("tokenizers")
WORDS = [f"w{i}" for i in range(30)]


def checkpoint(folder, name, pair="[CLS] $A [SEP] $B:1 [SEP]:1"):
    """A small checkpoint of the Hub's format, with a tokeniser of whole words."""
    small.folder(folder, name=name)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if small.config(name)["pad_token_id"] == 1:
        names[:2] = names[1::-1]
    ids = {word: i for i, word in enumerate([*names, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(names)
    special = [(word, ids[word]) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=special
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def config(tmp_path, source, head=None, classes=2, heads=None, **changes):
    rows = [dict(a=f"w{i} w{i + 1}", b=" ".join(WORDS[: i % 7]), label=i % classes) for i in range(48)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ConfigDict(
        dict(
            start=dict(source=str(source), head=head, fresh=("^head_(label|pooled)/",)),
            model=dict(kind="pretrained", heads=heads or classifier(classes)),
            objective=dict(kind="classification", classes=classes),
            data=dict(kind="labelled", path=str(tmp_path / "all.jsonl"), texts=("a", "b"), length=14, validation=0.4),
            batch=8, steps=2, eval_every=2, save_every=2, mesh=dict(data=1, model=8),
        )
        | changes
    )  # fmt: skip


def started(config, workdir):
    workdir.mkdir(exist_ok=True)
    run = setup(config.to_dict(), workdir, "write", None)
    state, _ = restore(run)
    run.checkpoints.close()
    return run, state


@pytest.mark.parametrize("name", ["bert_pretraining", "roberta_labels"])
def test_the_encoder_is_the_checkpoints(tmp_path, name):
    """What the network makes of a row of the data is what the checkpoint makes of its ids, padding or not."""
    pair = "[CLS] $A [SEP] [SEP] $B [SEP]" if "roberta" in name else "[CLS] $A [SEP] $B:1 [SEP]:1"
    folder = checkpoint(tmp_path / "hub", name, pair)
    run, state = started(config(tmp_path, folder), tmp_path / "run")
    known = xfm.hub.load(folder)
    row = {key: value[None] for key, value in run.data.train[3].items()}
    types = row["types"] if "bert_" in name[:5] else None
    expected = known(row["tokens"], row["segments"], types)["last_hidden_state"]
    hidden = run.objective.model.apply({"params": state.params}, row)["hidden"]
    real = row["segments"] > 0
    assert real.sum() < real.size
    assert_close(np.asarray(hidden)[real], np.asarray(expected)[real])
    there = {path: leaf.shape for path, leaf in flatten(known.params).items()}
    fresh = [path for path, leaf in flatten(state.params).items() if there.get(path) != leaf.shape]
    assert all(path.startswith("head_") for path in fresh) and "head_label/out/kernel" in fresh
    if name == "bert_pretraining":
        assert not any("pooled" in path for path in fresh), "a pooler goes along"
    assert row["tokens"][0, -1] == run.data.vocabulary.pad == small.config(name)["pad_token_id"]


def test_a_head_goes_along_when_asked(tmp_path):
    folder = checkpoint(tmp_path / "hub", "bert_labels")
    run, state = started(config(tmp_path, folder, "sequence_classification", classes=5), tmp_path / "run")
    known = xfm.hub.load(folder, head="sequence_classification")
    row = {key: value[None] for key, value in run.data.train[3].items()}
    logits = known(row["tokens"], row["segments"], row["types"])["logits"]
    loss, _, _ = run.objective.loss(state.params, {}, row, jax.random.key(0), train=False)
    assert_close(loss, -jax.nn.log_softmax(logits)[0, int(row["labels"][0])])
    with pytest.raises(XfmError, match="has 5 classes and config.objective.classes is 2"):
        started(config(tmp_path, folder, "sequence_classification"), tmp_path / "run")


def test_training_goes_on_and_is_evaluated(tmp_path):
    folder = checkpoint(tmp_path / "hub", "bert_pretraining")
    c = config(tmp_path, folder, ema=0.5)
    c.start.drop = 0.1
    first = train(c, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert record["model"]["embed"]["vocab"] == 61 and record["model"]["residual"]["drop"] == 0.1
    assert record["model"]["embed"]["drop"] == record["model"]["pattern"][0]["drop"] == 0.1
    assert evaluate(tmp_path / "run").valid == first.valid
    c.steps = 3
    assert train(c, tmp_path / "run").step == 3


def test_from_a_run_of_ones_own(tmp_path):
    folder = checkpoint(tmp_path / "hub", "bert_pretraining")
    first = train(config(tmp_path, folder), tmp_path / "first")
    other = dict(kind="classification", classes=3)
    heads = {"pooled": dict(kind="vector", pool=dict(kind="dense")), "label": other}
    run, state = started(config(tmp_path, tmp_path / "first", classes=3, heads=heads), tmp_path / "second")
    before, now = flatten(first.state.params), flatten(state.params)
    for path, leaf in now.items():
        if not path.startswith("head_label"):
            np.testing.assert_array_equal(leaf, before[path], err_msg=path)
    assert now["head_label/out/kernel"].shape[1] == 3
    run, state = started(config(tmp_path, tmp_path / "first", "label"), tmp_path / "third")
    np.testing.assert_array_equal(flatten(state.params)["head_label/out/kernel"], before["head_label/out/kernel"])
    with pytest.raises(XfmError, match="has no head 'labels'; it has pooled, label"):
        started(config(tmp_path, tmp_path / "first", "labels"), tmp_path / "fourth")


def test_what_cannot_start_is_said(tmp_path):
    folder = checkpoint(tmp_path / "hub", "bert_pretraining")
    c = config(tmp_path, folder)
    c.data.length = 40
    with pytest.raises(XfmError, match="config.data.length is 40, and .*hub has places for 19 tokens"):
        started(c, tmp_path / "run")
    with pytest.raises(XfmError, match="config.start has no key 'sorce' .did you mean 'source'"):
        started(config(tmp_path, folder, start=dict(sorce="x")), tmp_path / "run")
    with pytest.raises(XfmError, match="is no folder"):
        started(config(tmp_path, tmp_path / "nowhere"), tmp_path / "run")
    c = config(tmp_path, folder)
    c.data.packing = "documents"
    with pytest.raises(XfmError, match="restarts positions"):
        started(c, tmp_path / "run")
