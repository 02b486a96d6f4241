"""Starting from a checkpoint: the encoder and its tokeniser are the checkpoint's, heads are fresh or its own."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import xfm.hub
from tests.close import assert_close
from tests.drawn import loss_of
from tests.drawn import run as computed
from tests.hub import small
from xfm.catalogue import check
from xfm.configs.text import finetune_classification
from xfm.configs.text.finetune_classification import classifier
from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.train import evaluate, start, taken, train
from xfm.train.loop import restore
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
    hidden = computed(run.objective.model, {"params": state.params}, row)["hidden"]
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
    loss, _, _ = loss_of(run.objective, state.params, {}, row, jax.random.key(0), train=False)
    assert_close(loss, -np.asarray(jax.nn.log_softmax(logits))[0, int(row["labels"][0])])
    with pytest.raises(XfmError, match="has 5 classes and config.objective.classes is 2"):
        started(config(tmp_path, folder, "sequence_classification"), tmp_path / "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, config, result) of two steps from a checkpoint, with dropout and a moving average."""
    folder = tmp_path_factory.mktemp("trained")
    c = config(folder, checkpoint(folder / "hub", "bert_pretraining"), ema=0.5)
    c.start.drop = 0.1
    return folder, c, train(c, folder / "run")


def test_training_goes_on_and_is_evaluated(trained, tmp_path):
    folder, c, first = trained
    workdir = shutil.copytree(folder / "run", tmp_path / "run")
    record = json.loads((workdir / "config.json").read_text())["config"]
    assert record["model"]["embed"]["vocab"] == 61 and record["model"]["residual"]["drop"] == 0.1
    assert record["model"]["embed"]["drop"] == record["model"]["pattern"][0]["drop"] == 0.1
    assert evaluate(workdir).valid == first.valid
    assert train({**c.to_dict(), "steps": 3}, workdir).step == 3


def test_from_a_run_of_ones_own(trained, tmp_path):
    """The weights are those that evaluation uses, the moving average."""
    folder, _, first = trained
    other = dict(kind="classification", classes=3)
    heads = {"pooled": dict(kind="vector", pool=dict(kind="dense")), "label": other}
    run, state = started(config(tmp_path, folder / "run", classes=3, heads=heads), tmp_path / "second")
    before, now = flatten(first.state.ema), flatten(state.params)
    for path, leaf in now.items():
        if not path.startswith("head_label"):
            np.testing.assert_array_equal(leaf, before[path], err_msg=path)
    assert now["head_label/out/kernel"].shape[1] == 3
    run, state = started(config(tmp_path, folder / "run", "label", ema=0.9), tmp_path / "third")
    for tree in (state.params, state.ema):
        np.testing.assert_array_equal(flatten(tree)["head_label/out/kernel"], before["head_label/out/kernel"])
    with pytest.raises(XfmError, match="has no head 'labels'; it has pooled, label"):
        started(config(tmp_path, folder / "run", "labels"), tmp_path / "fourth")


def test_what_cannot_start_is_said(tmp_path):
    folder = checkpoint(tmp_path / "hub", "bert_pretraining")
    c = config(tmp_path, folder)
    c.data.length = 40
    with pytest.raises(XfmError, match="config.data.length is 40, and .*hub has positions for 19 tokens"):
        started(c, tmp_path / "run")
    with pytest.raises(XfmError, match="config.start has no key 'sorce' .did you mean 'source'"):
        started(config(tmp_path, folder, start=dict(sorce="x")), tmp_path / "run")
    with pytest.raises(XfmError, match="is not a folder"):
        started(config(tmp_path, tmp_path / "nowhere"), tmp_path / "run")
    c = config(tmp_path, folder)
    c.data.packing = "documents"
    with pytest.raises(XfmError, match="restarts positions"):
        started(c, tmp_path / "run")


ADAPTER = dict(part=dict(kind="mlp", hidden=4), norms={"in": dict(kind="layernorm")})


def begun(config):
    """What is taken, drawn and left, without data and without a state."""
    found = start.found_for(config)
    resolved = start.resolved(config, found)
    model, batch = xfm.build(resolved["model"]), {"tokens": np.ones((1, 4), np.int32)}
    params = jax.eval_shape(model.init, jax.random.key(0), batch)["params"]
    return taken.taken(params, found, resolved), resolved, found, params


def test_a_changed_pattern_stands(tmp_path):
    """An adapter and other norms beside the checkpoint's layers: its numbers count, and what is absent is listed."""
    folder = checkpoint(tmp_path / "hub", "bert_pretraining")
    c = config(tmp_path, folder)
    pattern = xfm.hub.load(folder).spec["pattern"]
    c.model.pattern = [*pattern, ADAPTER]
    with pytest.raises(XfmError, match="could not write this network.*config.start.export=none"):
        begun(c)
    c.start.export = "none"
    with pytest.raises(
        XfmError, match=r"layers/mlp_2/in_norm/bias is absent there and \(3, 24\) here.*'.layers/mlp_2/"
    ):
        begun(c)
    c.start.fresh = [*c.start.fresh, "^layers/mlp_2/", "^layers/mlp_7/"]
    with pytest.raises(XfmError, match=r"config.start.fresh: '\^layers/mlp_7/' is found in no parameter path"):
        begun(c)
    c.start.fresh = c.start.fresh[:-1]
    c.freeze = ["^embed/"]
    run, state = started(c, tmp_path / "run")
    one, resolved, found, params = begun(c)
    assert {path.split("/")[1] for path in one.fresh if path.startswith("layers")} == {"mlp_2"}
    assert {path.partition("/")[0] for path in one.left} == {"head_mlm", "head_nsp"}
    known, now = flatten(xfm.hub.load(folder).params), flatten(state.params)
    for path in one.taken:
        np.testing.assert_array_equal(now[path], known[path], err_msg=path)
    row = {key: value[None] for key, value in run.data.train[3].items()}
    hidden = computed(run.objective.model, {"params": state.params}, row)["hidden"]
    down = state.params["layers"]["mlp_2"]["part"]["down"]
    down["kernel"] = down["kernel"] * 3
    assert np.abs(computed(run.objective.model, {"params": state.params}, row)["hidden"] - hidden).max() > 1e-3
    said = taken.lines(one, found, resolved["model"])
    assert said[0].endswith("are taken (embed 5, head_pooled 2, layers 16)")
    assert any("are not used (head_mlm 5, head_nsp 2)" in line for line in said)
    assert any("differs from the checkpoint: model.pattern is" in line for line in said)


def test_a_network_without_pretrained_stands_whole(tmp_path):
    """With every head that fits, and with the positions that the checkpoint's rows have."""
    folder = checkpoint(tmp_path / "hub", "roberta_mlm", "[CLS] $A [SEP] [SEP] $B [SEP]")
    known = xfm.hub.load(folder)
    c = config(tmp_path, folder)
    c.model = dict(known.spec)
    c.model.heads["label"] = dict(kind="classification", classes=2)
    c.model.norms = {"out": dict(kind="layernorm", eps=0.5)}
    c.start.update(fresh=("^head_label/",), export="none")
    run, state = started(c, tmp_path / "run")
    one, resolved, found, _ = begun(c)
    assert resolved["model"]["norms"]["out"]["eps"] == 0.5 and not one.left
    assert [path for path in one.fresh] == ["head_label/out/bias", "head_label/out/kernel"]
    assert "head_mlm/dense/kernel" in one.taken
    same = known.replace(model=xfm.build(resolved["model"]))  # the checkpoint's inputs, the config's network
    row = {key: value[None] for key, value in run.data.train[3].items()}
    expected = same.replace(params=state.params)(row["tokens"], row["segments"])["last_hidden_state"]
    hidden = computed(run.objective.model, {"params": state.params}, row)["hidden"]
    real = row["segments"] > 0
    assert_close(np.asarray(hidden)[real], np.asarray(expected)[real])
    assert row["positions"][0, 0] == 0


NAMES = {"0": "tea", "1": "Soup", "2": "bread", "3": "salt", "4": "rice"}


def labelled(tmp_path, head="sequence_classification", names=NAMES, **data):
    """The config on a checkpoint with five named classes; its data's path does not matter before it is opened."""
    folder = checkpoint(tmp_path / "hub", "bert_labels")
    (folder / "config.json").write_text(json.dumps(small.config("bert_labels", id2label=names)))
    c = config(tmp_path, folder, head, classes=5)
    c.data.update(data)
    return c


@pytest.mark.parametrize("given,expected", [
    ((), ["tea", "Soup", "bread", "salt", "rice"]),  # the head's
    (("bread", "rice", "salt", "soup", "tea"), ["tea", "soup", "bread", "salt", "rice"]),  # its order, their spelling
    (("0", "1", "2", "3", "4"), ["0", "1", "2", "3", "4"]),  # numbers are the head's numbers
    (("4", "3", "2", "1", "0"), ["4", "3", "2", "1", "0"]),
])  # fmt: skip
def test_classes_are_numbered_as_the_head_that_goes_along(tmp_path, given, expected):
    resolved = start.resolved(labelled(tmp_path, classes=given))
    assert resolved["data"]["classes"] == expected
    assert start.resolved(resolved)["data"]["classes"] == expected


def test_classes_without_a_head_of_that_kind(tmp_path):
    """A fresh head, or one whose names only count, leaves the data's own order."""
    given = ("tea", "rice", "salt", "soup", "bread")
    assert tuple(start.resolved(labelled(tmp_path, None, classes=given))["data"]["classes"]) == given
    hub = {str(i): f"LABEL_{i}" for i in range(5)}
    assert tuple(start.resolved(labelled(tmp_path, names=hub, classes=given))["data"]["classes"]) == given


def test_a_recorded_config_keeps_its_head_fresh(tmp_path):
    """What was drawn anew once is drawn anew where the resolved config is trained again, though shapes would fit."""
    once = start.resolved(labelled(tmp_path, None))
    again = start.found_for(once)
    assert "label" in again.heads and "label" not in start.heads_along(again, start.of(once))
    asked = start.found_for(once | dict(start=once["start"] | dict(head="sequence_classification")))
    assert "label" in start.heads_along(asked, start.of(once))


def test_other_classes_than_the_heads_are_refused(tmp_path):
    both = (
        "config.data are tea, soup, bread, salt, nuts, and those of the head in .*hub are tea, Soup, bread, salt, rice"
    )
    with pytest.raises(XfmError, match=both):
        start.resolved(labelled(tmp_path, classes=("tea", "soup", "bread", "salt", "nuts")))
    c = start.resolved(labelled(tmp_path))
    found = start.found_for(c)
    with pytest.raises(XfmError, match="the data numbers its classes rice, .*, and the head in .*hub tea, Soup"):
        start.check_labels(("rice", "tea", "soup", "bread", "salt"), c, found)
    start.check_labels(("tea", "soup", "bread", "salt", "rice"), c, found)


def test_what_cannot_leave_is_refused_before_training(tmp_path):
    """The Hub's T5 has no classifier over its encoder; a config with start.export='none' trains one all the same."""
    folder = checkpoint(tmp_path / "hub", "t5_encoder")
    c = finetune_classification.get_config("base")
    c.data.update(path=str(tmp_path / "none.csv"), length=12)
    c.start.source = str(folder)
    with pytest.raises(XfmError, match="the Hub's t5 has no place for the head 'label'.*config.start.export=none"):
        check(c)
    c.start.export = "none"
    check(c)


def test_what_cannot_be_converted_is_reported_when_a_run_begins(tmp_path, capsys):
    """A network of one's own trains; that no family of the Hub has it stands in the run's first lines."""
    c = config(tmp_path, source=None)
    c.start = dict(source=None)
    norms, embed = {"in": dict(kind="rmsnorm")}, dict(kind="tokens", vocab=300, width=16)
    pattern = [dict(kind="attention", heads=2), dict(kind="mlp", hidden=16)]
    c.model = dict(
        kind="stack",
        embed=embed,
        pattern=pattern,
        norms=norms,
        heads=dict(label=dict(kind="classification", classes=2)),
    )
    c.data.tokenizer = dict(kind="bytes")
    (tmp_path / "run").mkdir()
    setup(c.to_dict(), tmp_path / "run", "write", None).checkpoints.close()
    assert "xfm convert will not write this network: no family of the Hub" in capsys.readouterr().err
