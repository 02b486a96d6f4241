"""What a run writes and reads back: a flipped bit gives the same numbers or a sentence, never other numbers."""

import builtins
import dataclasses
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_loop import assert_same_run

from xfm.data.text import Text
from xfm.errors import XfmError
from xfm.train import kept, run
from xfm.train.loop import evaluate, train
from xfm.train.record import Record, located, read_record, require_same_config, write_record

WORDS = ("the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs")


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Rows of token ids as numbers, for the dummy objective: each id moves the loss."""

    rows: object

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        tokens = self.rows[i]["tokens"].astype(np.float32) / 100
        return {"x": tokens[:6], "labels": tokens[6:9], "number": np.int32(i)}


@pytest.fixture
def text(linear, monkeypatch):
    """The dummy objective on real text: real caches, a real tokeniser."""

    def open_data(spec, workdir):
        tokenizer = {"kind": "wordpiece", "size": 120}
        data = Text(path=spec["path"], validation=0.3, length=9, tokenizer=tokenizer).open(Path(workdir))
        return linear.LinearData(Numbers(data.train), Numbers(data.valid), data.fingerprint)

    monkeypatch.setattr(run, "open_data", open_data)
    return linear


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A folder for the one run that the tests share."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def config(text, once):
    if not (once / "documents").exists():
        (once / "documents").mkdir()
        for i in range(30):
            (once / f"documents/{i}.txt").write_text("\n".join(f"{WORDS[(i + j) % 2]} {i * j}" for j in range(6)))
    return text.config(data=dict(kind="text", path=str(once / "documents")))


@pytest.fixture
def finished(config, once):
    """A finished run, and what each of its steps gives: it is only read."""
    workdir = once / "run"
    if not workdir.exists():
        train(config, workdir)
    return workdir


@pytest.fixture
def copied(finished, tmp_path):
    def copied(name="run"):
        return Path(shutil.copytree(finished, tmp_path / name))

    return copied


def files_of(workdir):
    found = (path.relative_to(workdir) for path in sorted(workdir.rglob("*")) if path.is_file())
    return [name for name in found if name.parts[:2] != ("checkpoints", "15")]


def flipped(workdir, name, seed):
    """One bit of one byte of the file, chosen by its name and the seed."""
    chance, path = random.Random(f"{name.name} {seed}"), workdir / name
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)


def names_the_file(told, name):
    """Whether a sentence speaks of the file, or of the checkpoint that it is a part of."""
    return name.name in told or (name.parts[0] == "checkpoints" and "the checkpoint of step 20" in told)


def test_a_tokeniser_that_is_gone_is_not_replaced_by_another(tmp_path):
    """A run that starts from this one, or opens it, would otherwise train one anew or read bytes."""
    trained = {"tokenizer": {"kind": "bpe", "size": 300}}
    for data, sealed in ((trained, {}), ({"text": trained}, {}), ({}, {"tokenizer.json": [1, 2]})):
        with pytest.raises(XfmError, match="has no tokenizer.json any more; restore it, or run `xfm train` there"):
            kept.tokenizer_of(tmp_path, data, sealed)
    bytes_ = {"tokenizer": {"kind": "bytes"}}
    assert [kept.tokenizer_of(tmp_path, data, {}) for data in (bytes_, {"text": bytes_})] == [{"kind": "bytes"}] * 2
    assert kept.tokenizer_of(tmp_path, {}, {}) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    found = kept.tokenizer_of(tmp_path, trained, kept.seals(tmp_path))
    assert found == {"kind": "file", "path": str(tmp_path / "tokenizer.json")}


@pytest.mark.parametrize("where", ["kept", pytest.param("checkpoints", marks=pytest.mark.slow)])
def test_a_flipped_bit_gives_the_same_evaluation_or_a_sentence(where, finished, copied, capsys):
    """Of the checkpoints' files see also test_checkpoint.py."""
    expected = {20: evaluate(finished).valid}
    shutil.rmtree((before := copied("before")) / "checkpoints/20")
    expected[15] = evaluate(before).valid
    assert expected[15] != expected[20]
    refused = []
    for name in (name for name in files_of(finished) if (name.parts[0] == "checkpoints") == (where == "checkpoints")):
        for seed in range(2):
            flipped(workdir := copied(f"{name.name} {seed}"), name, seed)
            capsys.readouterr()
            try:
                result = evaluate(workdir)
            except XfmError as error:
                refused.append(name.name)
                assert names_the_file(str(error), name), error
                continue
            finally:
                shutil.rmtree(workdir)
            assert result.valid == expected[result.step], name
            assert result.step == 20 or names_the_file(capsys.readouterr().err, name), name
    assert set(refused) == ({"config.json", "tokenizer.json", "tokenizer.trained-on"} if where == "kept" else set())


def test_a_flipped_bit_does_not_change_how_a_run_goes_on(config, finished, copied, capsys):
    """From step 15: the same numbers as without a stop, in the log too, or a sentence."""
    part = copied("part")
    shutil.rmtree(part / "checkpoints/20")
    reference, told = train(config, copied("whole")), []
    for name in (name for name in files_of(part) if len(name.parts) == 1):
        flipped(workdir := Path(shutil.copytree(part, part.with_name(f"{name.name} again"))), name, 2)
        capsys.readouterr()
        try:
            result = train(config, workdir)
        except XfmError as error:
            assert names_the_file(str(error), name), error
            continue
        err = capsys.readouterr().err
        told.append(names_the_file(err, name))
        if name.name != "metrics.jsonl":  # a lost line is reported, and is not written again
            assert_same_run(result, reference)
        assert told[-1], name
        assert not list(kept.whole(workdir, {})) and all(ok for _, ok in kept.whole(workdir, read_record(workdir).kept))
    assert len(told) == 5  # the metrics and four caches; the other three files were refused


def test_a_record_that_differs_in_one_number_is_refused(copied):
    for old, new in (('"weight_decay": 0.1', '"weight_decay": 0.3'), ('"crc32"', '"crc31"'), ('"config"', '"confih"')):
        workdir = copied(new.strip('"'))
        path = workdir / "config.json"
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(XfmError, match=r"config.json is damaged \(.*\); restore it or take another workdir"):
            evaluate(workdir)


def test_a_damaged_tokeniser_is_trained_again_where_it_is_removed(config, finished, copied):
    workdir = copied()
    flipped(workdir, Path("tokenizer.json"), 0)
    with pytest.raises(XfmError, match="tokenizer.json is damaged: .* or remove .*tokenizer.json and run"):
        train(config, workdir)
    (workdir / "tokenizer.json").unlink()
    assert train(config, workdir).valid == evaluate(finished).valid
    assert (workdir / "tokenizer.json").read_bytes() == (finished / "tokenizer.json").read_bytes()


def unsealed(workdir):
    """A run as it was written before there were seals."""
    path = workdir / "config.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({"config": record["config"], "data": record["data"]}))
    return workdir


def test_runs_without_seals_open_and_are_sealed_when_they_go_on(config, finished, copied, capsys):
    workdir = unsealed(copied())
    assert evaluate(workdir).valid == evaluate(finished).valid
    (lengths,) = workdir.glob("lengths-train-*.npy")
    array = np.load(lengths)
    array[:2] += (5, -5)
    array[1] *= -1
    np.save(lengths, array)  # damaged, and not sealed: made again, for it does not fit
    assert evaluate(workdir).valid == evaluate(finished).valid
    assert train(config, workdir).valid == evaluate(finished).valid
    assert read_record(workdir) == dataclasses.replace(
        read_record(finished), metrics=read_record(workdir).metrics, kept=read_record(workdir).kept
    )
    assert read_record(workdir).kept.keys() == read_record(finished).kept.keys()
    (workdir / "config.json").unlink()
    capsys.readouterr()
    train(config, workdir)
    assert f"{workdir} has lost its config.json" in capsys.readouterr().err


def test_a_relative_path_means_where_it_was_typed(text, config, finished, once, tmp_path, monkeypatch):
    """Whoever evaluates the run or goes on with it may be in another folder, and may say the path in full."""
    absolute, typed = str(once / "documents"), text.config(data=dict(kind="text", path="documents"), steps=5)
    monkeypatch.chdir(once)
    first = train(typed, tmp_path / "run")
    record = read_record(first.workdir)
    assert record.config["data"]["path"] == absolute and record.typed == {"data.path": "documents"}
    assert record.as_typed()["data"] == {"kind": "text", "path": "documents"}
    monkeypatch.chdir(tmp_path)
    assert evaluate(first.workdir).valid == first.valid
    for path in (absolute, "documents", os.path.relpath(absolute)):
        config.data.path, config.steps = path, 5
        assert train(config, first.workdir).valid == first.valid
        assert read_record(first.workdir).config["data"]["path"] == absolute
    config.data.path = str(once)
    with pytest.raises(XfmError, match=f"another config \\(data.path: '{absolute}' -> '{once}'\\)"):
        train(config, first.workdir)


def test_a_run_may_move_with_its_data(text, finished, once, tmp_path, monkeypatch):
    """The words are the same and so is the data, by its fingerprint; so it was before paths were recorded in full."""
    shutil.copytree(once / "documents", tmp_path / "documents")
    config = text.config(data=dict(kind="text", path="documents"))
    for name in ("run", "before"):
        workdir = Path(shutil.copytree(finished, tmp_path / name))
        record = read_record(workdir)
        if name == "run":
            write_record(workdir, dataclasses.replace(record, typed={"data.path": "documents"}))
        else:
            (unsealed(workdir) / "config.json").write_text(
                json.dumps({"config": {**record.config, "data": config.data.to_dict()}, "data": record.data})
            )
        monkeypatch.chdir(tmp_path)
        assert train(config, workdir).valid == evaluate(finished).valid
        assert read_record(workdir).config["data"]["path"] == str(tmp_path / "documents")


def test_paths_of_a_start_are_located_too(tmp_path, monkeypatch):
    (tmp_path / "a/bert").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    data = {"kind": "text", "path": "~/texts", "validation": 0.1, "tokenizer": {"kind": "file", "path": "t.json"}}
    config, typed = located({"data": data, "start": {"source": "bert", "head": None}, "steps": 3}, None)
    home = os.path.expanduser("~")
    assert config == {
        "data": {**data, "path": f"{home}/texts", "tokenizer": {"kind": "file", "path": f"{tmp_path}/a/t.json"}},
        "start": {"source": f"{tmp_path}/a/bert", "head": None},
        "steps": 3,
    }
    assert typed == {"data.path": "~/texts", "data.tokenizer.path": "t.json", "start.source": "bert"}
    assert located({"start": {"source": "google-bert/bert-base-uncased"}}, None)[1] == {}

    def of(folder):
        tokenizer = {"kind": "file", "path": f"{folder}/bert/tokenizer.json"}
        return {"start": {"source": f"{folder}/bert"}, "data": {"tokenizer": tokenizer}}

    words = {"start.source": "bert"}
    write_record(tmp_path, Record(of("/a"), "data-1", words))
    require_same_config(tmp_path, of("/b"), typed=words)  # moved, and what was found there has moved with it
    for changed, typed in ((of("/b"), {}), (of("/b"), {"start.source": "/b/bert"})):
        with pytest.raises(XfmError, match="start.source: '/a/bert' -> '/b/bert', data.tokenizer.path: "):
            require_same_config(tmp_path, changed, typed=typed)


def test_reading_a_run_writes_nothing(finished, copied, monkeypatch):
    """Not even what is missing or damaged there, as where a run lies on a read-only file system."""
    workdir = copied()
    next(workdir.glob("tokens-train-*.npy")).unlink()
    flipped(workdir, Path(next(workdir.glob("tokens-valid-*.npy")).name), 0)
    before = {path: path.stat().st_mtime_ns for path in (workdir, *workdir.rglob("*"))}
    real = {name: getattr(os, name) for name in ("replace", "rename", "mkdir", "unlink", "open")}
    real_open = builtins.open

    def guarded(name):
        def call(path, *args, **how):
            writes = name != "open" or (args and args[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            paths = [os.fspath(one) for one in (path, *args[: name in ("replace", "rename")])]
            assert not (writes and any(str(one).startswith(str(workdir)) for one in paths)), (name, paths)
            return real[name](path, *args, **how)

        return call

    def opening(file, mode="r", *args, **how):
        assert set(mode) <= set("rbt") or not str(file).startswith(str(workdir)), (file, mode)
        return real_open(file, mode, *args, **how)

    for name in real:
        monkeypatch.setattr(os, name, guarded(name))
    monkeypatch.setattr(builtins, "open", opening)
    assert evaluate(workdir).valid == evaluate(finished).valid
    assert before == {path: path.stat().st_mtime_ns for path in (workdir, *workdir.rglob("*"))}
