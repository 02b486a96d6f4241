"""Every config's `tiny`, trained in full from the command line: it must beat its baseline by a clear margin."""

import json
import os
import subprocess
import sys

import pytest

from xfm.catalogue import entries

ENTRIES = entries()


def test_every_config_has_a_margin():
    assert [entry.config for entry in ENTRIES if not entry.margin] == []


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.config)
def test_tiny_beats_its_baseline(entry, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}  # one device, as users have
    command = [sys.executable, "-m", "xfm.cli", "train", f"{entry.config}:tiny", "--workdir", tmp_path / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (baseline,) = (
        value for line in lines if line["kind"] == "baseline" for k, value in line.items() if k not in ("kind", "step")
    )
    loss = [line["loss"] for line in lines if line["kind"] == "valid"][-1]
    assert loss < baseline - entry.margin
    assert "examples:" in done.stderr and (tmp_path / "run" / "loss.png").stat().st_size > 10_000
