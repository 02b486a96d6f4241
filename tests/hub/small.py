"""A small BERT's folder, from the committed goldens."""

import json
import pathlib
from typing import Any

import numpy as np
from safetensors.numpy import save_file

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hub"


def weights(name: str = "bert_pretraining") -> dict[str, np.ndarray]:
    """The tensors of a golden, as transformers wrote them."""
    with np.load(GOLDENS / f"{name}.npz") as file:
        found = {key.removeprefix("weight/"): file[key] for key in file.files if key.startswith("weight/")}
    return {name: a.astype(np.int64) if a.dtype.kind == "i" else a for name, a in found.items()}  # as PyTorch has them


def config(name: str = "bert_pretraining", **changes: Any) -> dict[str, Any]:
    """config.json of a golden, with changes."""
    with np.load(GOLDENS / f"{name}.npz") as file:
        return {**json.loads(str(file["config"])), **changes}


def folder(path: pathlib.Path, arrays: Any = None, name: str = "bert_pretraining", **changes: Any) -> pathlib.Path:
    """A folder with config.json and model.safetensors."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config(name, **changes)))
    save_file(weights(name) if arrays is None else arrays, path / "model.safetensors")
    return path
