"""The log, the window of metrics, the curve, the settings and the record of a run."""

import io
import json
import os
import signal
import sys
import threading
import time

import pytest

from xfm.errors import XfmError
from xfm.train.curve import draw_curve
from xfm.train.logs import Log, read_metrics
from xfm.train.preempt import Preemption
from xfm.train.record import Record, open_run, open_workdir, read_record, require_same_config, to_plain, write_record
from xfm.train.report import Report
from xfm.train.settings import read_settings
from xfm.train.window import Window


def metrics(loss, count=2.0, skipped=0.0):
    return {"loss": (loss * count, count), "skipped": (skipped, 1.0)}


def window(**changes):
    return Window(**{"nan": "stop", "nan_limit": 2, "where": "the checkpoint is at W", **changes})


def test_lines_past_the_restored_step_and_torn_lines_go(tmp_path):
    log = Log(tmp_path, ["jsonl"], 0, print)
    for step in (5, 10, 15):
        log.write(step, "train", {"loss": 1 / 3 + step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "ki')
    log = Log(tmp_path, ["jsonl"], 10, print)
    log.write(15, "train", {"loss": float("nan")})
    log.close()
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [5, 10, 15]
    assert lines[1]["loss"] == 1 / 3 + 10 and lines[2]["loss"] is None


def test_tensorboard_is_written_where_asked_for(tmp_path):
    pytest.importorskip("tensorboardX")
    log = Log(tmp_path, ["tensorboard"], 0, print)
    log.write(1, "train", {"loss": 1.0})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events*")) and read_metrics(tmp_path)


def test_tensorboard_asked_for_and_absent_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(XfmError, match=r"install xfm\[log\]"):
        Log(tmp_path, ["tensorboard"], 0, print)
    with pytest.raises(XfmError, match="'tensorbord'.*did you mean 'tensorboard'"):
        Log(tmp_path, ["tensorbord"], 0, print)


def test_curve_without_matplotlib_is_none(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert draw_curve(tmp_path, "run", {}) is None


def test_curve_is_a_picture(tmp_path, monkeypatch):
    axes = pytest.importorskip("matplotlib.axes")
    words, write = [], axes.Axes.set_ylabel
    monkeypatch.setattr(
        axes.Axes, "set_ylabel", lambda self, text, **how: words.append(text) or write(self, text, **how)
    )
    log = Log(tmp_path, [], 0, print)
    for step in (1, 2):
        log.write(step, "train", {"loss": 3.0 / step})
        log.write(step, "valid", {"loss": 3.5 / step})
    log.close()
    path = draw_curve(tmp_path, "run", {"unigram": 4.0})
    draw_curve(tmp_path, "run", {"mean": 4.0}, unit="squared")
    assert words == ["loss (nats)", "loss (squared)"]
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_means_are_exact_over_unequal_counts():
    means = window()
    means.add(1, metrics(1.0, count=1.0))
    means.add(2, metrics(4.0, count=3.0))
    assert means.means()["loss"] == 13 / 4
    assert means.means() == {}


def test_window_goes_on_from_its_notes():
    whole, first = window(), window()
    for step in range(1, 7):
        whole.add(step, metrics(1 / step))
    for step in range(1, 4):
        first.add(step, metrics(1 / step))
    notes = json.loads(json.dumps(first.notes()))
    second = window(sums=notes["window"], skipped=notes["skipped"])
    for step in range(4, 7):
        second.add(step, metrics(1 / step))
    assert second.means() == whole.means()


def test_nan_stops_and_names_the_last_good_step():
    one = window()
    one.add(7, metrics(1.0))
    one.add(8, metrics(0.0, 0.0, skipped=1.0))
    with pytest.raises(XfmError, match="at step 8: .*last good step is 7, the checkpoint is at W"):
        one.settle()


def test_nan_is_skipped_up_to_the_limit_over_restarts():
    one = window(nan="skip")
    for step in (1, 2):
        one.add(step, metrics(0.0, 0.0, skipped=1.0))
    assert one.notes()["skipped"] == 2
    two = window(nan="skip", skipped=2)
    two.add(3, metrics(0.0, 0.0, skipped=1.0))
    with pytest.raises(XfmError, match="no step of this run was good.*nan_limit is 2"):
        two.settle()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_on_a_terminal_and_elsewhere(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    report = Report()
    report.begin(0, 10)
    for _ in range(10):
        report.advance()
    report.progress(10, dict(loss=1.25, tokens_per_second=12_345.0, data_wait=0.5), left=3700)
    report.say("a sentence")
    report.close()
    text = sys.stderr.getvalue()
    assert "a sentence\n" in text and "loss 1.2500" in text and "12.3k tokens/s" in text
    assert ("10/10 [" in text) == (stream is Terminal)
    assert ("step 10/10" in text and "1:01:40 left" in text) == (stream is io.StringIO)


def test_first_signal_is_noted_and_the_second_acts():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        with Preemption() as asked:
            assert not asked.to_stop(1)
            os.kill(os.getpid(), signal.SIGINT)
            assert asked.to_stop(2) and asked.signum == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before


def test_no_handler_outside_the_main_thread():
    def body():
        with Preemption() as asked:
            seen.append((signal.getsignal(signal.SIGTERM), asked.to_stop(1)))

    seen = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGTERM), False)]


REQUIRED = dict(objective={"kind": "linear"}, data={"kind": "linear"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(step=5), "config has no key 'step'.*did you mean 'steps'"),
        (dict(batch=0), "config.batch is 0; it must be a whole number of at least 1"),
        (dict(steps="10"), "config.steps is '10'; it must be a whole number"),
        (dict(keep=1), "config.keep is 1; it must be a whole number of at least 2"),
        (dict(ema=1.0), "config.ema is 1.0; it must be a number above 0 and below 1 or None"),
        (dict(nan="ignore"), "config.nan is 'ignore'; it must be 'stop' or 'skip'"),
        (dict(batch=10, accumulate=4), "config.accumulate=4 does not divide config.batch=10"),
        (dict(clip="a"), "config.clip is 'a'; it must be a number above 0 or None"),
        (
            dict(decay=["a"]),
            r"config.decay is \['a'\]; it must be a list, each item \(text that is a regular expression, a number",
        ),
    ],
)
def test_settings_that_cannot_be_meant(changes, sentence):
    with pytest.raises(XfmError, match=sentence):
        read_settings({**REQUIRED, **changes})


def test_settings_need_an_objective_and_data():
    with pytest.raises(XfmError, match="config has no objective"):
        read_settings({"data": {}})


def test_record_names_what_changed(tmp_path):
    old = to_plain(dict(model=dict(pattern=[dict(heads=4), "x"]), steps=5, groups=[("a", 0.5)], clip=1.0))
    write_record(tmp_path, Record(old, "data-1"))
    assert read_record(tmp_path) == Record(old, "data-1")
    require_same_config(tmp_path, {**old, "steps": 50, "keep": 3})
    new = {**old, "model": {"pattern": [{"heads": 8}, "x"]}, "ema": 0.9}
    with pytest.raises(XfmError) as error:
        require_same_config(tmp_path, new)
    assert "model.pattern[0].heads: 4 -> 8, ema: 'absent' -> 0.9" in str(error.value)
    assert "take another workdir" in str(error.value) and "steps" in str(error.value)


def test_damaged_record_and_objects_in_a_config(tmp_path):
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(XfmError, match="config.json is damaged"):
        read_record(tmp_path)
    with pytest.raises(XfmError, match=r"config.a\[1\] is a function; a config holds plain data"):
        to_plain({"a": [1, test_settings_need_an_objective_and_data]})


@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_what_is_no_name_of_a_workdir(name, tmp_path, monkeypatch):
    """An empty one would mean the current folder."""
    monkeypatch.chdir(tmp_path)
    for opened in (open_workdir, open_run):
        with pytest.raises(XfmError, match="is no name of a workdir: give a folder, '.' for the one you are in"):
            opened(name)
    assert not list(tmp_path.iterdir())


def test_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(XfmError, match="cannot write to the workdir .*/file/run: Not a directory"):
        open_workdir(tmp_path / "file/run")
