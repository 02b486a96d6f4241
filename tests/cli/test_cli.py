"""The command line: what each command prints, and that every mistake ends in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import xfm.catalogue as catalogue
from tests.cli.conftest import SMALL, TINY
from xfm.listing import folded


def test_train_then_eval(run, refused, trained_once):
    workdir, words, out, err = trained_once
    assert "text/bert:tiny: masked_lm" in err and "unigram baseline" in err
    assert json.loads((workdir / "config.json").read_text())["config"]["steps"] == 2
    code, out, err = run("eval", workdir, "--json")
    found = json.loads(out)
    assert code == 0 and found["step"] == 2 and found["valid"]["loss"] > 0
    assert set(found["baseline"]) == {"unigram"}

    sentence = refused("train", "--workdir", workdir, *words, "--config.seed=1")
    assert "seed: 'absent' -> 1" in sentence and str(workdir) in sentence


def test_describe(run):
    code, out, err = run("describe", TINY)
    assert code == 0 and not err and "layers/attention_0/part" in out and "FLOPs" in out
    code, out, err = run("describe", "configs/text/bert.py:base", "--json")
    found = json.loads(out)
    assert found["parameters"] == 110_106_428 == sum(p["parameters"] for p in found["parts"])
    assert found["flops_forward"] == sum(part["flops"] for part in found["parts"])
    assert {"path", "kind", "shape", "parameters", "flops", "repeats"} == set(found["parts"][0])


def test_overrides_in_both_spellings(run):
    changed = []
    for words in (["--config.model.repeats=5"], ["--config.model.repeats", "5"]):
        code, out, _ = run("describe", *words, TINY, "--json")
        changed.append(json.loads(out))
    assert changed[0] == changed[1]
    assert {part["repeats"] for part in changed[0]["parts"]} == {1, 5}


def test_a_dropped_field_is_reported(run):
    code, out, err = run("describe", TINY, "--config.optimiser.kind=lion")
    assert code == 0 and out
    assert err == "xfm: config.optimiser.eps is dropped: 'lion' has no such field\n"


def test_list(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    code, out, err = run("list")
    assert code == 0 and not err
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) == {"config", *catalogue.names()} and max(map(len, lines.values())) <= 120
    assert "29 in all" in lines["text/bert"] and "Devlin et al. 2019" in lines["text/bert"]
    code, out, err = run("list", "--json")
    found = {row["config"]: row for row in json.loads(out)}
    assert found["vision/vit"]["family"] == "vision" and "B/16" in found["vision/vit"]["variants"]
    keys = {"config", "family", "file", "variants", "default", "paper", "oracle", "parameters", "margin"}
    assert all(set(row) == keys for row in found.values())


@pytest.mark.parametrize(
    "filters,configs,words",
    [
        (["--family", "audio"], {"audio/ast"}, ("base",)),
        (["--paper", "LONG-document"], {"text/longformer"}, ("Beltagy",)),
        (["--slot", "mixer=mamba2"], {"sequence/mamba2_hybrid"}, ("mamba2, attention",)),
        (["--slot", "position=alibi"], {"text/mosaicbert", "text/jina_bert"}, ("alibi",)),
    ],
)
def test_the_list_is_filtered(filters, configs, words, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run("list", *filters)
    assert code == 0 and not err and {line.split()[0] for line in out.splitlines()[1:]} == configs
    assert all(word in out for word in words)


@pytest.mark.parametrize(
    "filters,words",
    [
        (["--family", "txt"], ("there is no family 'txt' (did you mean 'text'?)",)),
        (["--slot", "mixr"], ("there is no slot 'mixr' (did you mean 'mixer'?)", "embed, stem, position")),
        (["--slot", "mixer=mamba"], ("slot 'mixer' has no kind 'mamba' (did you mean 'mamba2'?)",)),
        (["--paper", "no such paper"], ("no config passes these filters",)),
    ],
)
def test_a_filter_that_nothing_passes_says_what_there_is(filters, words, run):
    code, out, err = run("list", *filters)
    assert code == 2 and not out and err.count("\n") == 1 and all(word in err for word in words)


def test_papers_are_listed_with_their_proof(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = run("list", "--papers")
    titles = [line for line in out.splitlines() if not line.startswith(" ")]
    assert code == 0 and titles == sorted(titles, key=str.casefold) and len(titles) == len(catalogue.names())
    assert "    text/longformer: transformers LongformerForMaskedLM with copied weights" in out


def test_a_broken_config_does_not_break_the_list(run, tmp_path, monkeypatch):
    family = tmp_path / "text"
    family.mkdir()
    (family / "broken.py").write_text("def (")
    real = catalogue.names()
    monkeypatch.setattr(catalogue, "names", lambda: {**real, "text/broken": family / "broken.py"})
    code, out, err = run("list")
    assert code == 0 and "text/bert" in out and "text/broken" not in out
    assert err.startswith("xfm: text/broken is not listed: ") and err.count("\n") == 1
    code, out, _ = run("list", "--json")
    rows = {row["config"]: row for row in json.loads(out)}
    assert "broken" in rows["text/broken"]["error"] and "error" not in rows["text/bert"]


@pytest.mark.parametrize(
    "words, told",
    [
        ([], ("COMMAND", "xfm --help")),
        (["trian"], ("'trian'", "train", "describe")),
        (["train", TINY], ("--workdir", "xfm train --help")),
        (["train"], ("CONFIG", "--workdir")),
        (["describe", TINY, "--jsno"], ("--jsno",)),
        (["describe", TINY, "--config.batch"], ("--config.batch", "VALUE")),
        (["describe", TINY, "--config.batch", "--json"], ("--config.batch", "VALUE")),
        (["list", "--config.batch=3"], ("--config.batch=3", "train, eval and describe")),
        (["describe", "text/bret:tiny"], ("'text/bret'", "'text/bert'", "xfm list")),
        (["describe", "nowhere/at/all.py:tiny"], ("nowhere/at/all.py", "xfm list")),
        (["describe", "text/bert:tinny"], ("'tinny'", "'tiny'", "base")),
    ],
)
def test_words_that_mean_nothing(refused, words, told):
    sentence = refused(*words)
    assert all(word in sentence for word in told), sentence


@pytest.mark.parametrize(
    "setting, told",
    [
        ("btach=3", ("'btach'", "'batch'", "steps")),
        ("model.pattern.0.kind=atention", ("'atention'", "'attention'", "mamba2")),
        ("model.pattern.0.hedas=3", ("config.model.pattern.0", "'hedas'", "'heads'", "kv_heads")),
        ("model.pattern.0.heads=5", ("128", "5 heads")),
        ("model.pattern.0.implementation=best", ("'best'", "naive, xla")),
        ("model.pattern.9.heads=5", ("config.model.pattern", "'9'", "0 to 1")),
        ("steps=soon", ("config.steps", "'soon'", "a whole number")),
        ("optimiser.kind=adamv", ("'adamv'", "lion")),
        ("data.packing.more=3", ("config.data.packing", "'more'")),
    ],
)
@pytest.mark.parametrize("command", ["train", "describe"])
def test_bad_settings(refused, command, setting, told, tmp_path):
    workdir = tmp_path / "run"
    words = ["--workdir", workdir] if command == "train" else []
    sentence = refused(command, TINY, *words, f"--config.{setting}")
    assert all(word in sentence for word in told), sentence
    assert not workdir.exists()


def test_data_that_cannot_be_read(refused, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.txt").write_bytes(b"good so far \xff\xfe and no further")
    for folder, told in (
        (tmp_path / "nowhere", "does not exist"),
        (empty, ".txt, .md, .py"),
        (tmp_path / "bad", "not UTF-8 at byte 12"),
    ):
        data = f"--config.data.path={folder}"
        sentence = refused("train", TINY, "--workdir", tmp_path / "run", *SMALL, data)
        assert str(folder) in sentence and told in sentence


def test_images_that_cannot_be_read(refused, tmp_path):
    folder = tmp_path / "images" / "cats"
    folder.mkdir(parents=True)
    (folder / "a.png").touch()
    data = f"--config.data.path={folder.parent}"
    sentence = refused("train", "vision/vit:tiny", "--workdir", tmp_path / "run", data)
    assert "a.png is empty" in sentence


def test_workdirs_that_hold_no_run(refused, tmp_path):
    assert "holds no run" in refused("eval", tmp_path / "nowhere")
    assert "holds no run" in refused("eval", tmp_path)
    (tmp_path / "file").touch()
    data = f"--config.data.path={tmp_path}"
    assert "file" in refused("train", TINY, "--workdir", tmp_path / "file", data)


def test_an_interruption_is_quiet(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "load", interrupted)
    assert run("describe", TINY) == (130, "", "xfm: interrupted\n")


def test_folded_variants():
    assert folded(("tiny", "a", "base"), "base") == "tiny, base, a"
    assert folded(("tiny", *"abcdef", "base"), "base") == "tiny, base, a … f (8 in all)"


def test_as_a_program(tmp_path):
    """A process of its own, away from the checkout: help, and a mistake."""

    def xfm(*words):
        command = [sys.executable, "-m", "xfm.cli", *words]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    shown = xfm("--help")
    assert shown.returncode == 0 and "xfm train configs/text/bert.py:tiny" in shown.stdout
    missing = xfm("eval", "runs/none")
    assert missing.returncode == 2 and not missing.stdout
    assert missing.stderr == (
        f"xfm: {Path(tmp_path).resolve()}/runs/none holds no run: there is no config.json; "
        "give the workdir of `xfm train`\n"
    )
