"""Opens a run of xfm's trainer like a checkpoint of the Hub: `xfm.load("runs/first")`."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from xfm.convert.export import OpenedRun, exported, read_run, write_tokenizer
from xfm.errors import XfmError
from xfm.hub.checkpoint import Checkpoint
from xfm.hub.family import Calling, Family, Head, counted
from xfm.hub.keys import complete
from xfm.hub.matching import Match, labels_of
from xfm.structures import build
from xfm.transforms import network

# Names of heads in xfm -> the Hub's names of their tasks.
TASKS = {"label": "sequence_classification", "tags": "token_classification", "span": "question_answering",
         "mlm": "masked_lm", "lm": "causal_lm"}  # fmt: skip


def load_run(
    workdir: str | Path, dtype: str | None = None, place: Callable[[str, np.ndarray], Any] | None = None
) -> Checkpoint:
    """The newest valid checkpoint of a run, with the weights that evaluation uses, its tokeniser and its classes.

    If a family of the Hub has the network and all its heads, it is a checkpoint of that family, which can be saved.
    Otherwise it is called in the same way, with heads under their own names, but cannot be saved; its family is "xfm".
    dtype, place: as in `xfm.hub.load`.  Raises XfmError for a network that does not read tokens.
    """
    run, folder = read_run(workdir), kept_folder()
    try:
        m = run.match()
    except XfmError:
        m = None
    made = exported(run, m, folder) if m is not None and not m.left else as_it_is(run, m, folder)
    spec = dict(made.spec, dtype=dtype)
    flat = traverse_util.flatten_dict(made.params, sep="/")
    place = place or (lambda path, array: jax.device_put(array))
    params = {path: place(path, array) for path, array in flat.items()}
    model = network({"model": spec, "transforms": run.config.get("transforms")})
    return made.replace(model=model, spec=spec, params=traverse_util.unflatten_dict(params, sep="/"))


def as_it_is(run: OpenedRun, m: Match | None, folder: Path) -> Checkpoint:
    """A run whose network no family can express, with the inputs of the nearest family `m`, if there is one."""
    spec = complete(run.config["model"])
    model = build(spec)
    if getattr(model, "vocab", None) is None:
        raise XfmError(f"{run.workdir} has a network that reads no tokens; xfm.train.evaluate returns its state")
    heads = {
        TASKS.get(name, name): Head(name, lambda c, one=one: one, {}) for name, one in spec.get("heads", {}).items()
    }
    family = Family(
        "xfm",
        lambda c: spec,
        {},
        heads=heads,
        sublayers=1,
        calling=Calling(inputs=m.family.calling.inputs if m and run.family else counted),
    )
    config = (m.settings.content if m else {}) | {
        "model_type": "xfm",
        "vocab_size": model.vocab,
        "type_vocab_size": run.config["data"].get("kinds", model.types) or 0,
        "max_position_embeddings": model.most(),
        **labels_of(spec.get("heads", {}), run.classes),
    }
    config |= write_tokenizer(run, folder, None)
    params = traverse_util.unflatten_dict(dict(run.weights), sep="/")
    return Checkpoint(model, params, config, spec, family, heads, folder)


@functools.cache
def folders() -> Path:
    """A folder for the tokenisers of opened runs, which is removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="xfm-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def kept_folder() -> Path:
    """A new folder inside `folders()`."""
    return Path(tempfile.mkdtemp(dir=folders()))
