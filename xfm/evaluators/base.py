"""What the trainer knows of an evaluator."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from xfm.errors import XfmError, nearest
from xfm.fields import Count

Params = Mapping[str, Any]
# An objective's `forward`(name, params, batch): a network's outputs for the batch, and what its parts sowed.
Forward = Callable[..., tuple[dict[str, Any], Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Abstract. A measurement of trained networks on validation data.

    forward: that of the objective they were trained with.  params, extra: its parameters (their moving average where
    the run has one) and what it keeps beside them.  data: with `train` and `valid` rows, a tokeniser and the names of
    classes.  mesh: over whose devices rows are spread; see rows.py.

    batch: the number of rows at once, config.batch if not set.
    """

    batch: Count = 32

    def run(self, forward: Forward, params: Params, extra: Any, data: Any, mesh: Mesh) -> dict[str, float]:
        """Scores by name; none where the evaluator only shows examples."""
        return {}

    def examples(self, forward: Forward, params: Params, extra: Any, data: Any, mesh: Mesh) -> list[str]:
        """A few predictions on validation data, one paragraph each, for a person to read."""
        return []

    def pictures(
        self, forward: Forward, params: Params, extra: Any, data: Any, mesh: Mesh
    ) -> dict[str, UInt8[np.ndarray, "H W C"]]:
        """Pictures by name, of one channel or of three; they are written to the run's folder as NAME.png."""
        return {}


def output(forward: Forward, head: str, params: Params, batch: Mapping[str, Array], network: str = "model") -> Array:
    """The output of a head of a network for a batch.  Raises XfmError if the network has no head of that name."""
    out, _ = forward(network, params, batch)
    if head not in out:
        raise XfmError(
            f"config.evals: the network {network!r} has no output {head!r}{nearest(head, out)}; it has {', '.join(out)}"
        )
    return out[head]
