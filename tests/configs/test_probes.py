"""Pre-training on digits: the features tell classes apart better than random weights' do.

By a linear probe of ten labels a class, and by the nearest rows where a config has them. Takes one or two minutes of a
core for each config.
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

PROBE, NEAREST = "probe_accuracy_10_shots", "knn_accuracy"
# config, variant -> by how much each score must rise, and the most that the loss may be, given what it is compared
# with: the loss of the mean image by position, of pixels or of target features, or else the objective's own baseline.
MARGINS = {
    ("vision/mae", "digits"): ({PROBE: 0.1}, lambda known: 0.75 * known),
    ("vision/diet", "digits"): ({PROBE: 0.1}, lambda known: known - 0.5),
    ("vision/simmim", "digits"): ({PROBE: 0.1}, lambda known: 0.75 * known),
    ("vision/crate_mae", "digits"): ({PROBE: 0.1}, lambda known: 0.8 * known),
    ("vision/dino", "digits"): ({NEAREST: 0.1}, lambda known: known - 0.3),
    ("vision/ijepa", "digits"): ({PROBE: 0.08}, lambda known: 0.85 * known),
}
SEEDS = (0, 1, 2)  # of the random weights


def opened(config, tmp_path):
    return build(SOURCES, plain(config.data)).open(tmp_path)


def of_random_weights(config, data):
    """The scores with parameters as they start, for each seed."""
    one = build_objective(config, None)
    specs = [spec for spec in config.evals if spec["kind"] in ("linear_probe", "nearest_rows")]
    evaluators = build_evaluators(specs, config.batch)
    batch = {"images": data.valid[0]["images"][None]}
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    drawn = (jax.jit(one.init)(jax.random.key(seed), batch)[0] for seed in SEEDS)
    return [
        {k: v for each in evaluators for k, v in each.run(one.forward, params, {}, data, mesh).items()}
        for params in drawn
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name,variant", MARGINS, ids=map(":".join, MARGINS))
def test_features_are_better_than_those_of_random_weights(name, variant, tmp_path):
    config = find(name)[0].get_config(variant)
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "xfm.cli", "train", f"{name}:{variant}", "--workdir", tmp_path / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores, valid, baseline = (
        [line for line in lines if line["kind"] == kind][-1] for kind in ("report", "valid", "baseline")
    )
    strongest = min(value for key, value in baseline.items() if key not in ("kind", "step"))
    margins, most = MARGINS[name, variant]
    assert valid["loss"] < most(valid.get("mean_image", strongest))
    random = of_random_weights(config, opened(config, tmp_path))
    for score, margin in margins.items():
        assert scores[score] > max(each[score] for each in random) + margin, (score, scores, random)
