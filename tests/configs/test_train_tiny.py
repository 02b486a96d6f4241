"""Every config's `tiny`, trained from the command line for at most 200 steps: it must beat its baseline.

A config's MARGIN holds for the whole run of its `tiny`, and is required in full where that has at most 200 steps.
"""

import json
import os
import subprocess
import sys

import pytest

from xfm.catalogue import apply_overrides, entries, find
from xfm.train.schedules import build_schedule
from xfm.train.settings import read_settings

ENTRIES = entries()
MOST = 200  # steps
EARLY = 1 / 3  # the share of its margin by which a longer run is below its baseline after MOST steps
# ELECTRA's discriminator learns only once its generator is good: its loss is then 0.0015 below the baseline.
LATE = {"text/electra": 0.0}


def tiny(entry):
    return find(entry.config)[0].get_config("tiny")


def shortened(config):
    """The overrides by which a run has at most MOST steps; a decay at its end becomes as much shorter as the run."""
    if config.steps <= MOST:
        return []
    decay = config.schedule.get("decay")
    shorter = [] if decay is None else [f"schedule.decay={decay * MOST // config.steps}"]
    return [f"steps={MOST}", *shorter]


def test_every_config_has_a_margin():
    assert [entry.config for entry in ENTRIES if not entry.margin] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.config)
def test_few_steps_are_trained_here_and_the_schedule_fits_them(entry):
    config = apply_overrides(tiny(entry), shortened(tiny(entry)))
    settings = read_settings(config)
    assert 0 < settings.steps <= MOST and settings.log_every <= settings.steps
    build_schedule(settings.schedule, settings.steps)
    assert settings.schedule.get("warmup", 0) <= MOST // 2, "most of the run would be warm-up; choose fewer steps"


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.config)
def test_tiny_beats_its_baseline(entry, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}  # one device, as users have
    command = [sys.executable, "-m", "xfm.cli", "train", f"{entry.config}:tiny", "--workdir", tmp_path / "run"]
    shorter = shortened(tiny(entry))
    command += [f"--config.{override}" for override in shorter]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) <= MOST
    (baseline,) = (
        value for line in lines if line["kind"] == "baseline" for k, value in line.items() if k not in ("kind", "step")
    )
    loss = [line["loss"] for line in lines if line["kind"] == "valid"][-1]
    below = LATE.get(entry.config, EARLY * entry.margin) if shorter else entry.margin
    assert loss < baseline - below
    assert "examples:" in done.stderr and (tmp_path / "run" / "loss.png").stat().st_size > 10_000
