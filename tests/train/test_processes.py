"""Two processes, two devices each: a SIGTERM to one stops both, and they go on exactly."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from xfm.train.logs import read_metrics

SCRIPT = Path(__file__).with_name("linear_regression.py")
EXACT = ("step", "kind", "loss", "grad_norm", "learning_rate")


def run(workdir, changes, *words, count=2, signalled=0):
    """Exit codes and standard errors of `count` processes; `signalled` gets the further words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = "--xla_force_host_platform_device_count=2"
    processes = []
    for own in range(count):
        env = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": flags,
            "JOIN": f"{port} {count} {own}",
        }
        command = [sys.executable, str(SCRIPT), str(workdir), json.dumps(changes)]
        command += words if own == signalled else ()
        processes.append(
            subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
    errors = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], errors


def lines(workdir):
    return [{k: v for k, v in x.items() if k in EXACT} for x in read_metrics(workdir)]


@pytest.mark.slow
def test_sigterm_on_one_stops_both_and_they_go_on_exactly(tmp_path):
    changes = dict(steps=400, save_every=100, eval_every=100, mesh=dict(data=2, model=2))
    codes, errors = run(tmp_path / "whole", changes)
    assert codes == [0, 0], errors
    codes, errors = run(tmp_path / "part", changes, "100", "SIGTERM")
    assert codes == [128 + signal.SIGTERM] * 2, errors
    assert "SIGTERM: stopped at step" in errors[0] and "Traceback" not in "".join(errors)
    saved = max(int(p.name) for p in (tmp_path / "part/checkpoints").iterdir())
    assert 100 < saved < 400
    codes, errors = run(tmp_path / "part", changes)
    assert codes == [0, 0] and f"going on from step {saved} of 400" in errors[0], errors
    assert lines(tmp_path / "part") == lines(tmp_path / "whole")
