"""Which reference models are compared with xfm's, a module per family; each has a dict CASES, name -> Case."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """A randomly initialised reference model of unusual sizes, and what it reads.

    model: name of the class in transformers.  config: keyword arguments of its configuration class.
    padding: where each row of the batch has it, "none", "right", "middle" or "left".
    types: whether token types are given.  length: tokens in a row.  rows: in the batch.
    special: (regex, mean, deviation) for parameters that must lie elsewhere than the others.
    keep: regex of the weights of which the whole gradient is kept, beside all vectors.
    part: the attribute of the model that runs, where the file holds more than is compared ("encoder" of a T5).
    images: rows and columns of the images that it reads in place of tokens.  video: time, rows and columns of videos.
    frames: length and bands of spectrograms.  texts: whether it reads tokens as well.
    shapes: rows and columns of the patches of each image, where the model reads patches.
    lowest: the smallest token id.  inputs: further keyword arguments of the model, as plain lists.
    """

    model: str
    config: Mapping[str, Any]
    padding: str = "middle"
    types: bool = False
    length: int = 11
    rows: int = 3
    special: tuple[tuple[str, float, float], ...] = ()
    keep: str = "$^"
    part: str = ""
    images: tuple[int, int] | None = None
    video: tuple[int, int, int] | None = None
    frames: tuple[int, int] | None = None
    texts: bool = False
    shapes: tuple[tuple[int, int], ...] = ()
    lowest: int = 5
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    choices: int | None = None


def all_cases() -> dict[str, Case]:
    """Every case of every family."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for name, case in importlib.import_module(f"{__name__}.{module.name}").CASES.items():
            assert name not in found, f"two cases are called {name}"
            found[name] = case
    return found
