"""Writes the goldens of the Hub's families: what transformers makes of random weights.

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0+cpu --index-url https://download.pytorch.org/whl/cpu
    oracle/bin/pip install transformers==5.23.0
    oracle/bin/python -m tests.hub.make [part of a name ...]

A golden is one `.npz`: `config` (config.json), `versions`, `weight/<name>` as model.safetensors has it, `input/<name>`,
`output/<name>`, `hidden/<i>` (zero at padding), `map/<i>` (of reshaped_hidden_states), `cotangent/<output>`,
`norm/<weight>` and some whole `grad/<weight>` of sum(output · cotangent).
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers

from tests.hub.cases import all_cases
from tests.hub.reference import run

FOLDER = pathlib.Path(__file__).parents[1] / "goldens" / "hub"
LIMIT = 150_000  # bytes of a file


def write(name, case):
    arrays, config = run(case)
    narrow = {"f": np.float32, "i": np.int32, "b": np.int32}
    arrays = {key: value.astype(narrow[value.dtype.kind]) for key, value in arrays.items()}
    versions = json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__))
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, config=np.array(config), versions=np.array(versions), **arrays)
    size = path.stat().st_size
    print(f"{path.name:32} {size:7} bytes {len(arrays):4} arrays")
    bad = [key for key, value in arrays.items() if not np.isfinite(value).all()]
    assert not bad and size < LIMIT, (bad, size)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, case in all_cases().items():
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            write(name, case)
