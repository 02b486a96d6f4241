"""The run as a whole: what it writes, that it goes on exactly, and that it stops in a sentence."""

import dataclasses
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import linear_regression
import numpy as np
import pytest

from xfm.errors import XfmError
from xfm.paths import flatten
from xfm.train.logs import read_metrics
from xfm.train.loop import evaluate, train
from xfm.train.preempt import Interrupted
from xfm.train.record import read_record, write_record

SCRIPT = Path(__file__).with_name("linear_regression.py")
EXACT = ("step", "kind", "loss", "grad_norm", "skipped", "learning_rate", "mean")


def lines(workdir):
    """What must be the same in every run: all but the times."""
    return [{k: v for k, v in line.items() if k in EXACT} for line in read_metrics(workdir)]


def numbers(state):
    leaves = dataclasses.replace(state, rng=jax.random.key_data(state.rng))
    return {path: np.asarray(x) for path, x in flatten(leaves).items()}


def assert_same_run(a, b):
    assert lines(a.workdir) == lines(b.workdir)
    x, y = numbers(a.state), numbers(b.state)
    assert x.keys() == y.keys()
    for path in x:
        np.testing.assert_array_equal(x[path], y[path], err_msg=path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run without a stop; it is only read."""
    with pytest.MonkeyPatch.context() as patched:
        linear_regression.install(patched.setattr)
        return train(linear_regression.config(), tmp_path_factory.mktemp("finished") / "whole")


@pytest.fixture
def whole(linear, finished, tmp_path):
    """The same in a folder that may be changed."""
    workdir = shutil.copytree(finished.workdir, tmp_path / "whole")
    return dataclasses.replace(finished, workdir=workdir)


def test_run_writes_what_it_promises(linear, drawn, tmp_path, capsys):
    events = []
    result = train(linear.config(), tmp_path / "run", lambda name, values: events.append((name, values)))
    assert result.step == 20 and result.checkpoint.name == "20" and result.checkpoint.is_dir()
    assert result.curve.read_bytes().startswith(b"\x89PNG")
    assert result.examples == ["one line", "another"]
    steps = {(line["step"], line["kind"]) for line in read_metrics(result.workdir)}
    expected = {(s, "train") for s in (4, 8, 12, 16, 20)} | {(10, "valid"), (20, "valid")}
    assert steps == expected | {(0, "baseline"), (20, "report")}
    assert result.report == {"size": 0.5}
    assert [name for name, _ in events].count("save") == 4
    assert {"start", "log", "evaluate", "save", "end"} == {name for name, _ in events}
    text = capsys.readouterr().err
    for words in (
        "run: linear, 21 parameters",
        "mean baseline: 1.0000",
        "step 20: validation loss",
        "scores: size 0.5000",
    ):
        assert words in text
    assert {p.name for p in (result.workdir / "checkpoints").iterdir()} == {"15", "20"}


def test_evaluate_gives_the_same_numbers_and_changes_nothing(whole):
    before = {p: p.stat().st_mtime_ns for p in whole.workdir.rglob("*")}
    result = evaluate(whole.workdir)
    assert result.valid == whole.valid and result.step == 20 and result.report == whole.report
    assert before == {p: p.stat().st_mtime_ns for p in whole.workdir.rglob("*")}


def test_evaluate_on_other_devices(linear, whole):
    result = evaluate(whole.workdir, changes=dict(mesh=dict(data=-1, model=2)))
    assert result.valid == pytest.approx(whole.valid, rel=1e-5)
    few = evaluate(whole.workdir, changes=dict(mesh=dict(data=-1, model=2), eval_steps=1)).valid
    assert few == pytest.approx(evaluate(whole.workdir, changes=dict(eval_steps=1)).valid, rel=1e-5)
    assert few != pytest.approx(whole.valid, rel=1e-3)
    with pytest.raises(XfmError, match="does not fit"):
        evaluate(whole.workdir, changes=dict(mesh=dict(data=999)))
    with pytest.raises(XfmError, match="another config"):
        evaluate(whole.workdir, changes=dict(seed=1))


def test_finished_run_is_only_evaluated_again(linear, whole):
    again = train(linear.config(), whole.workdir)
    assert again.valid == whole.valid
    assert [x for x in lines(again.workdir) if x["kind"] == "train"] == [
        x for x in lines(whole.workdir) if x["kind"] == "train"
    ]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_the_run_goes_on_exactly(linear, whole, tmp_path, signum, capsys):
    """Stopped at step 8 or 9, between two checkpoints and in the middle of a window."""

    def listener(name, values):
        if name == "log" and values["step"] == 8 and not asked:
            asked.append(1)
            os.kill(os.getpid(), signum)

    asked, handlers = [], [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Interrupted) as stopped:
        train(linear.config(), tmp_path / "part", listener)
    assert stopped.value.code == 128 + signum and stopped.value.step in (8, 9)
    assert f"stopped at step {stopped.value.step}, saved in" in capsys.readouterr().err
    assert handlers == [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    assert_same_run(train(linear.config(), tmp_path / "part"), whole)


def run_script(workdir, *words, **kwargs):
    command = [sys.executable, str(SCRIPT), str(workdir), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **kwargs)


def test_killed_run_goes_on_exactly(linear, whole, tmp_path):
    """SIGKILL the moment the save of step 10 began, which leaves it whole or torn."""
    done = run_script(tmp_path / "part", "{}", "10", "SIGKILL")
    assert done.returncode == -signal.SIGKILL and (tmp_path / "part/run.lock").exists()
    assert_same_run(train(linear.config(), tmp_path / "part"), whole)


@pytest.mark.slow
@pytest.mark.parametrize("hold", ["0.01", "0.03", "0.1", "0.3"])
@pytest.mark.parametrize("step", ["5", "15"])
def test_killed_at_any_moment_of_a_save(linear, whole, tmp_path, hold, step):
    done = run_script(tmp_path / "part", "{}", step, "SIGKILL", hold)
    assert done.returncode == -signal.SIGKILL
    assert_same_run(train(linear.config(), tmp_path / "part"), whole)


def test_full_disk_is_one_sentence_and_earlier_steps_stay(linear, whole, tmp_path):
    done = run_script(tmp_path / "part", "{}", "5", "full", "1")
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the checkpoint of step 10 could not be saved in")
    assert "step 5 is the newest that is whole" in last and "Traceback" not in done.stderr
    assert_same_run(train(linear.config(), tmp_path / "part"), whole)


def test_a_lost_folder_of_checkpoints_ends_the_program_with_its_sentence(tmp_path):
    """Orbax's threads print nothing, and the program does not wait for them: once they kept the program for 300 s."""
    done = run_script(tmp_path / "part", '{"eval_every": 20}', "5", "lost", "1")
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: the checkpoint of step 10 could not be saved in") and "Traceback" not in done.stderr


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", [5, 20])
def test_a_failed_save_leaves_no_thread_behind(linear, tmp_path, step):
    """For step 20 it is reported when the run waits for its last save, or closes."""

    def listener(name, values):
        if name == "save" and values["step"] == step:
            linear.lose_checkpoints(tmp_path)

    before = set(threading.enumerate())
    with pytest.raises(XfmError, match="the checkpoint of step .* could not be saved in .*checkpoints: "):
        train(linear.config(), tmp_path, listener)
    gc.collect()  # Orbax's own pools end when they are collected, which the tests let happen seldom
    others = [one for one in threading.enumerate() if one not in before and not one.daemon]
    for thread in others:
        thread.join(5)
    assert not [thread.name for thread in others if thread.is_alive()]
    assert not (tmp_path / "run.lock").exists()


def test_the_second_run_in_a_workdir_is_refused_and_changes_nothing(linear, tmp_path):
    """Here it starts while the first one is at step 8, with another seed."""
    seen = []

    def listener(name, values):
        if name == "log" and values["step"] == 8:
            before = {path: path.read_bytes() for path in tmp_path.glob("*.json*")}
            with pytest.raises(
                XfmError, match=rf"{tmp_path} is in use by process {os.getpid()} on .*run\.lock"
            ) as error:
                train(linear.config(seed=1), tmp_path)
            seen.append(str(error.value))
            assert before == {path: path.read_bytes() for path in tmp_path.glob("*.json*")}

    assert train(linear.config(), tmp_path, listener).step == 20
    assert len(seen) == 1 and not (tmp_path / "run.lock").exists()


def test_damaged_checkpoint_goes_back_and_on_exactly(linear, finished, whole, capsys):
    for path in (whole.workdir / "checkpoints/20/state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"x")
    again = train(linear.config(), whole.workdir)
    text = capsys.readouterr().err
    assert "step 20" in text and "damaged" in text and "going on from step 15 of 20" in text
    assert_same_run(again, finished)


def test_longer_run_goes_on(linear, whole):
    longer = train(linear.config(steps=24), whole.workdir)
    assert longer.step == 24
    with pytest.raises(XfmError, match="is at step 24, past config.steps=20"):
        train(linear.config(), whole.workdir)


def test_changed_config_and_changed_data_are_refused(linear, whole):
    with pytest.raises(XfmError, match=r"another config \(optimiser.weight_decay: 0.1 -> 0.2\)"):
        train(linear.config(optimiser=dict(kind="adamw", weight_decay=0.2)), whole.workdir)
    write_record(whole.workdir, dataclasses.replace(read_record(whole.workdir), data="linear-63"))
    with pytest.raises(XfmError, match=r"other data \(fingerprint linear-63 -> linear-64-0\)"):
        train(linear.config(), whole.workdir)


def test_config_may_change_while_nothing_was_saved(linear, tmp_path):
    with pytest.raises(XfmError, match="config.optimiser"):
        train(linear.config(optimiser=dict(kind="adamx")), tmp_path)
    assert train(linear.config(steps=4), tmp_path).step == 4


def test_checkpoint_of_another_vocabulary(linear, whole):
    """Same config, other shapes: what a tokeniser that changed its size would do."""
    linear.WIDTH, width = 5, linear.WIDTH
    try:
        with pytest.raises(XfmError, match=r"params/head/kernel is float32\[6, 3\] there and float32\[5, 3\] here"):
            train(linear.config(), whole.workdir)
    finally:
        linear.WIDTH = width


def bad_from(linear, step):
    """The largest row number in the batch of `step`, and all steps of which this is true."""
    batches = linear.run.Batches(linear.Rows(64, 1), 8, 0)
    largest = {s: int(batches.rows(s - 1)["number"].max()) for s in range(1, 21)}
    return largest[step], [s for s, number in largest.items() if number == largest[step]]


def test_nan_stops_with_the_last_good_step(linear, tmp_path):
    number, steps = bad_from(linear, 8)
    assert steps[0] == 8
    objective = dict(kind="linear", bad=[number])
    with pytest.raises(XfmError) as error:
        train(linear.config(objective=objective), tmp_path)
    text = str(error.value)
    assert "not finite at step 8: the update was not made, the last good step is 7" in text
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["5"]


def test_nan_may_be_skipped(linear, tmp_path):
    number, steps = bad_from(linear, 8)
    objective = dict(kind="linear", bad=[number])
    result = train(linear.config(objective=objective, nan="skip"), tmp_path)
    assert result.step == 20 and int(result.state.extra["calls"]) == 20 - len(steps)
    assert sum(4 * x["skipped"] for x in lines(tmp_path) if x["kind"] == "train") == len(steps)
    with pytest.raises(XfmError, match="that was skipped step 1 and config.nan_limit is 0"):
        train(linear.config(objective=objective, nan="skip", nan_limit=0), tmp_path.with_name("none"))


@pytest.mark.skipif(jax.device_count() != 8, reason="needs eight (fake) devices")
def test_eight_devices_give_the_same_run_and_may_take_over(linear, whole, tmp_path):
    config = linear.config(mesh=dict(data=4, model=2), sharding="fsdp")
    spread = train(config, tmp_path / "spread")
    for a, b in zip(lines(whole.workdir), lines(spread.workdir), strict=True):
        assert a.keys() == b.keys() and a["kind"] == b["kind"]
        for name in a.keys() - {"kind"}:
            assert a[name] == pytest.approx(b[name], rel=1e-5)
