"""How a command ends that fails: one sentence, an exit code, and no thread that keeps the program."""

import os
import resource
import subprocess
import sys
import threading

import pytest

import xfm.catalogue as catalogue
import xfm.failures as failures
from tests.cli.conftest import TINY
from xfm.errors import XfmError
from xfm.tokenizers import TOKENIZERS


class Panic(BaseException):
    """As what a library in Rust raises."""


def fail_with(monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(catalogue, "load", failing)


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), Panic("index out of\nbounds")])
def test_a_fault_of_xfm_itself(run, monkeypatch, tmp_path, error):
    """One sentence with the file that holds the traceback, or the traceback itself."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(failures.SHOWN, raising=False)
    fail_with(monkeypatch, error)
    code, out, err = run("describe", TINY)
    (file,) = tmp_path.glob("xfm-fault-*.txt")
    first = str(error).splitlines()[0]
    assert code == 1 and not out and err.count("\n") == 1 and "Traceback" not in err
    assert err.startswith(f"xfm: a fault of xfm itself, {type(error).__name__}: {first}; ") and str(file) in err
    assert "Traceback" in file.read_text() and str(error) in file.read_text()

    monkeypatch.setenv(failures.SHOWN, "1")
    code, _, err = run("describe", TINY)
    assert code == 1 and "Traceback" in err and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "error, sentence",
    [
        (OSError(28, "No space left on device", "/a/file"), "/a/file: No space left on device"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError("a host that does not answer\nand more"), "a host that does not answer\n"),
        (MemoryError(), "the memory is full (MemoryError); lower config.batch"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand more"), "the memory is full (RESOURCE_EXHAUSTED: Out of"),
    ],
)
def test_what_the_machine_refuses_is_no_fault(refused, monkeypatch, error, sentence):
    fail_with(monkeypatch, error)
    assert refused("describe", TINY).startswith(f"xfm: {sentence}")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_disk_that_is_full_while_the_tokeniser_is_written(kind, tmp_path):
    spec = TOKENIZERS[kind](size=400)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(XfmError, match=f"{tmp_path / 'tokenizer.json'} cannot be written: File too large"):
            spec.fit(lambda: iter(["some words of a text"] * 9), "corpus", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.trained-on"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_output_that_nobody_takes(tmp_path):
    """Python would complain of it once more at its end, and change the exit code."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "xfm.cli", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2 and done.stderr == "xfm: No space left on device\n"


def test_threads_that_would_keep_the_program_are_not_waited_for(monkeypatch):
    ended, stop = [], threading.Event()
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(failures, "PATIENCE", 0.05)
    assert failures.leave(2) == 2 and not ended
    thread = threading.Thread(target=stop.wait)
    thread.start()
    failures.leave(2)
    stop.set()
    thread.join()
    assert ended == [2]
