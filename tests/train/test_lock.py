"""One run at a time in a workdir: who is refused, and which locks are taken over."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import pytest

import xfm.train.lock as locks
from xfm.errors import XfmError
from xfm.train.lock import FILE, STALE, Holder, Lock


def leave(workdir, age=0.0, **changes):
    """A lock as another run holds or left it, renewed `age` seconds ago."""
    holder = dataclasses.replace(Holder.here(), token="other", **changes)
    path = workdir / FILE
    path.write_text(json.dumps(dataclasses.asdict(holder)))
    os.utime(path, (time.time() - age,) * 2)
    return holder


def assert_taken_over(workdir):
    with Lock(workdir) as lock:
        lock.check()
        assert json.loads((workdir / FILE).read_text())["token"] != "other"
        assert [path.name for path in workdir.iterdir()] == [FILE]
    assert not list(workdir.iterdir())


def test_the_second_run_is_refused(tmp_path):
    with Lock(tmp_path):
        with pytest.raises(XfmError) as error:
            Lock(tmp_path).__enter__()
        holder = Holder.here()
        for words in (
            f"{tmp_path} is in use by process {holder.pid} on {holder.host} since 20",
            " s ago",
            "wait for it",
        ):
            assert words in str(error.value)
        assert f"if that process is gone, remove {tmp_path / FILE}" in str(error.value)
        assert (tmp_path / FILE).exists()
    assert_taken_over(tmp_path)


def test_of_many_that_find_a_lock_left_over_one_takes_it(tmp_path):
    """Threads in the place of processes: the file decides, not the memory. Often, since a race is lost now and then."""
    for number in range(40):
        workdir = tmp_path / str(number)
        workdir.mkdir()
        assert contested(workdir, 8) == (1, 7) and not list(workdir.iterdir())


def contested(workdir, count):
    """How many of so many runs get a lock that is left over, and how many are refused."""
    leave(workdir, born="earlier")
    locked, refused, ready, done = [], [], threading.Barrier(count), threading.Barrier(count)

    def contend():
        ready.wait()
        try:
            with Lock(workdir) as lock:
                locked.append(lock)
                done.wait()
        except XfmError as error:
            refused.append(error)
            done.wait()

    threads = [threading.Thread(target=contend) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(locked), len(refused)


def test_a_process_that_has_ended_holds_nothing(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    leave(tmp_path, pid=process.pid)  # ended, and not yet waited for by its parent
    assert_taken_over(tmp_path)
    process.wait()
    leave(tmp_path, pid=process.pid)
    assert_taken_over(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs Linux to tell processes of one number apart")
def test_a_later_process_of_the_same_number_is_another(tmp_path):
    leave(tmp_path, born="boot/12345")
    assert_taken_over(tmp_path)


@pytest.mark.parametrize("elsewhere", [dict(host="node-7"), dict(space="pid:[1]"), dict(host="node-7", born="x")])
def test_a_process_of_another_machine_is_known_by_its_signs_of_life(tmp_path, elsewhere):
    holder = leave(tmp_path, age=STALE / 2, **elsewhere)
    with pytest.raises(XfmError, match=f"on {holder.host} since .*its last sign of life was 60 s ago"):
        Lock(tmp_path).__enter__()
    leave(tmp_path, age=STALE + 1, **elsewhere)
    assert_taken_over(tmp_path)


def test_a_damaged_lock_is_taken_over_when_old(tmp_path):
    (tmp_path / FILE).write_text("{")
    with pytest.raises(XfmError, match="in use by another run"):
        Lock(tmp_path).__enter__()
    os.utime(tmp_path / FILE, (0, 0))
    assert_taken_over(tmp_path)


def test_the_holder_shows_that_it_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "RENEWED", 0.01)
    with Lock(tmp_path):
        os.utime(tmp_path / FILE, (0, 0))
        end = time.monotonic() + 20
        while (tmp_path / FILE).stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert (tmp_path / FILE).stat().st_mtime > time.time() - 60


def test_a_run_that_was_taken_over_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "RENEWED", 0.01)
    with Lock(tmp_path) as lock:
        lock.check()
        holder = leave(tmp_path, host="node-7")
        end = time.monotonic() + 20
        with pytest.raises(XfmError, match=f"has lost its workdir .* to process {holder.pid} on node-7"):
            while time.monotonic() < end:
                lock.check()
                time.sleep(0.01)
    assert (tmp_path / FILE).exists()  # it is the other's


def test_a_lock_that_was_made_meanwhile_is_left_alone(tmp_path, monkeypatch):
    leave(tmp_path, born="earlier")
    opened = os.open

    def late(path, *how):
        if str(path).endswith(".claim"):
            leave(tmp_path, host="node-7")  # another run is faster
        return opened(path, *how)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(XfmError, match="in use by process .* on node-7"):
        Lock(tmp_path).__enter__()
    assert json.loads((tmp_path / FILE).read_text())["host"] == "node-7"
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_claim_is_respected_until_it_goes_or_is_old(tmp_path):
    leave(tmp_path, born="earlier")
    claim = tmp_path / f".{FILE}.claim"
    claim.touch()
    removal = threading.Timer(0.1, claim.unlink)
    removal.start()
    with Lock(tmp_path):
        assert removal.finished.is_set()
    leave(tmp_path, born="earlier")
    claim.touch()
    os.utime(claim, (0, 0))
    assert_taken_over(tmp_path)


def test_a_workdir_that_is_gone(tmp_path):
    with pytest.raises(XfmError, match="cannot write to the workdir .*: No such file or directory"):
        Lock(tmp_path / "none").__enter__()
