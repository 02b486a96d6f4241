"""Every config's `tiny`, trained in full from the command line: it must beat its baseline by a clear margin."""

import json
import os
import subprocess
import sys

import pytest

from xfm.catalogue import entries

# nats by which the validation loss must lie below the baseline; a config without an entry fails
MARGINS = {
    "text/bert": 0.5,
    "text/mosaicbert": 0.4,
    "sequence/mamba2_hybrid": 1.0,
    "vision/vit": 1.5,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [entry.config for entry in entries()])
def test_tiny_beats_its_baseline(name, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}  # one device, as users have
    command = [sys.executable, "-m", "xfm.cli", "train", f"{name}:tiny", "--workdir", tmp_path / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (baseline,) = (
        value for line in lines if line["kind"] == "baseline" for k, value in line.items() if k not in ("kind", "step")
    )
    loss = [line["loss"] for line in lines if line["kind"] == "valid"][-1]
    assert loss < baseline - MARGINS[name]
    assert "examples:" in done.stderr and (tmp_path / "run" / "loss.png").stat().st_size > 10_000
