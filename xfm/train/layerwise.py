"""Layer-wise learning rates: each layer of a network learns more slowly than the one above it.

Clark et al., "ELECTRA" (2020), section 3.1, and Bao et al., "BEiT" (2021), appendix; vision transformers are fine-tuned
like this since. With L layers the head and the last norm have factor 1, layer i (1 … L) has decay^(L + 1 - i), and the
embedding decay^(L + 1).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xfm.errors import XfmError
from xfm.fields import Count, Fraction
from xfm.spec import SpecError, build
from xfm.structures.base import Layer

Factor = float | list[float]


@dataclasses.dataclass(frozen=True)
class LayerDecay:
    """config.layer_decay.  rate: the factor from each layer to the one below.  sublayers: how many make one layer, as
    attention and an MLP do.
    """

    rate: Fraction = 0.75
    sublayers: Count = 2


def factors(spec: Mapping[str, Any] | None, layers: Sequence[Layer], paths: Iterable[str]) -> dict[str, Factor]:
    """Path of a parameter -> its factor, or one for each repeat of a compiled loop; nothing if `spec` is None.

    layers: the network's sublayers in the order in which they run. Parameters between layers, such as those that merge
    patches, learn as the layer after them in the same module; without one, as the embedding.
    Raises XfmError for a bad spec, and for a network without layers.
    """
    if spec is None:
        return {}
    try:
        decay = build({"layer_decay": LayerDecay}, {"kind": "layer_decay", **spec})
    except SpecError as error:
        raise XfmError(f"config.layer_decay: {error}") from None
    if not layers:
        raise XfmError("config.layer_decay needs a network that says where its layers are, and this one does not")
    depth = {(layer.path, layer.index): i // decay.sublayers + 1 for i, layer in enumerate(layers)}
    last = max(depth.values())
    first = {}  # module that holds layers, such as stage_2 -> the first depth in it
    for layer in layers:
        first.setdefault(layer.path.partition("/")[0], depth[layer.path, layer.index])
    at = {layer.path: layer.stacked for layer in layers}

    def factor(path: str) -> Factor:
        own = next((one for one in at if path.startswith(f"{one}/")), None)
        if own is None:
            top = path.partition("/")[0]
            above = top.startswith("head_") or top == "norm"
            return decay.rate ** (last + 1 - (last + 1 if above else first.get(top, 0)))
        each = [decay.rate ** (last + 1 - i) for (name, _), i in depth.items() if name == own]
        return each if at[own] else each[0]

    return {path: factor(path) for path in paths}
