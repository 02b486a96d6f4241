"""Pre-training on digits: with ten labels a class its features tell them apart better than random weights' do.

Takes one or two minutes of a core for each config.
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from xfm.catalogue import find
from xfm.data import SOURCES
from xfm.evaluators import build_evaluators
from xfm.objectives import build_objective
from xfm.spec import build, plain

# By how much accuracy must rise, and a function of the data to the loss that the loss must be below.
MARGINS = {
    ("vision/mae", "digits"): (0.1, lambda data: 0.75 * mean_image(data)),
    ("vision/diet", "digits"): (0.1, lambda data: np.log(len(data.train)) - 0.5),
}
SEEDS = (0, 1, 2)  # of the random weights
SCORE = "probe_accuracy_10_shots"


def opened(config, tmp_path):
    return build(SOURCES, plain(config.data)).open(tmp_path)


def of_random_weights(config, data):
    """The accuracy with parameters as they start, for each seed."""
    one = build_objective(config, None)
    (evaluator,) = build_evaluators([spec for spec in config.evals if spec["kind"] == "linear_probe"], config.batch)
    batch = {"images": data.valid[0]["images"][None]}
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    drawn = (one.init(jax.random.key(seed), batch)[0] for seed in SEEDS)
    return [evaluator.run(one.forward, params, {}, data, mesh)[SCORE] for params in drawn]


def mean_image(data):
    """The mean squared error of the mean training image, which a network predicts that reads positions alone."""
    known, seen = (np.stack([row["images"] for row in rows]) for rows in (data.train, data.valid))
    return float(((seen - known.mean(0)) ** 2).mean())


@pytest.mark.slow
@pytest.mark.parametrize("name,variant", MARGINS, ids=":".join)
def test_features_are_better_than_those_of_random_weights(name, variant, tmp_path):
    config = find(name)[0].get_config(variant)
    data = opened(config, tmp_path)
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "xfm.cli", "train", f"{name}:{variant}", "--workdir", tmp_path / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (score,) = (line[SCORE] for line in lines if line["kind"] == "report")
    loss = [line["loss"] for line in lines if line["kind"] == "valid"][-1]
    margin, most = MARGINS[name, variant]
    assert loss < most(data)
    assert score > max(of_random_weights(config, data)) + margin
