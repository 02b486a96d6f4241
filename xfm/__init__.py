"""xfm: text encoders, state-space hybrids and vision transformers in JAX and Flax.

    config = xfm.load_config("text/bert:tiny")
    model = xfm.build(config.model)
    variables = model.init(key, batch)
    out = model.apply(variables, batch)

`__all__` is the whole public API, grouped by purpose. `xfm.train.train(config, workdir)` runs a whole training.
"""

import importlib
from typing import Any

from xfm.capture import capture
from xfm.catalogue import load as load_config
from xfm.context import Context, Mask
from xfm.describe import describe
from xfm.errors import XfmError
from xfm.objectives import build_objective
from xfm.structures import build
from xfm.vocabulary import Vocabulary

__version__ = "0.1.0"

# Imported on first access, because they need Grain, Optax or Orbax, or read files.
LATER = {
    "load": "xfm.loading",
    "Checkpoint": "xfm.hub",
    "sentence_encoder": "xfm.loading",
    "open_data": "xfm.data",
    "Batches": "xfm.data",
    "prefetch": "xfm.data",
    "State": "xfm.train.state",
    "new_state": "xfm.train.state",
    "shard_state": "xfm.train.state",
    "make_step": "xfm.train.step",
    "make_eval": "xfm.train.step",
    "build_optimiser": "xfm.train.optimiser",
    "build_schedule": "xfm.train.schedules",
}
ROOMS = (
    *("convert", "data", "evaluators", "hub", "kernels", "objectives", "parts", "structures", "tokenizers", "train"),
    "transforms",
)

__all__ = [
    # a network: from a config to a Flax module, and a look inside
    "load_config",
    "build",
    "describe",
    "capture",
    # a part of one's own: what it may know beside its input, and how it says what is wrong
    "Context",
    "Mask",
    "XfmError",
    # checkpoints of the Hub; data, a loss over a network, and training without the loop
    "Vocabulary",
    "build_objective",
    *LATER,
]


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    if name in ROOMS:
        return importlib.import_module(f"xfm.{name}")
    raise AttributeError(f"module 'xfm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER, *ROOMS})
