"""The contract of a transform: three faces, `surgery`, `weights` and `around`, which by default change nothing.

A transform finds the modules that it changes by a regex on their paths. Its own parameters are one subtree beside the
network's, `own/PATH/NAME/LEAF`: the path of the module, the transform's name and the leaf's. That subtree can be
trained and saved alone.
"""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Key

from xfm.parts.linear import Linear
from xfm.spec import SpecError
from xfm.structures.sublayer import Sublayer

Params = Mapping[str, Any]
Own = Mapping[str, Mapping[str, Array]]  # path of a module -> leaf -> array
OwnAt = Callable[[nn.Module], Mapping[str, Array] | None]
Interceptor = Callable[..., Any]  # as in flax.linen.intercept_methods: f(call, args, kwargs, context)
SITES = (Linear, Sublayer)


@dataclasses.dataclass(frozen=True)
class Site:
    """A linear map or a sublayer of a network.

    module: its class.  stack: the leading axes that repeated layers add to its parameters, (12,) for twelve repeats.
    ins, outs: the last axes of its input and of its output, such as (N, H) and (D,) for attention's output map.
    """

    module: type
    stack: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]


class Transform:
    """Abstract. A dataclass whose fields are what a spec may set; a subclass overrides the faces that it has."""

    def surgery(self, spec: Mapping[str, Any], params: Params | None) -> tuple[Mapping[str, Any], Params | None]:
        """The network's spec and parameters changed for good, before it is built: pruned, grown, merged, folded.

        params: of a trained network, None where only the spec is asked for.
        """
        return spec, params

    def start(self, rng: Key[Array, ""], sites: Mapping[str, Site]) -> Own:
        """The transform's own parameters before training, stacked as those of the modules are.

        sites: every linear map and sublayer of the network by its path. Raises SpecError where the transform's regex
        is found in none of them (see `chosen`).
        """
        return {}

    def weights(self, params: Params, own: Own, rng: Key[Array, ""] | None) -> Params:
        """The parameters that the network runs with.  rng: for what is random in training, None in evaluation."""
        return params

    def around(self, own: OwnAt) -> Interceptor | None:
        """A Linen interceptor of the calls of the network's modules, None for a transform without this face.

        own: from a module to the transform's own parameters there, None where it has none. Inside repeated layers they
        are those of the layer that runs.
        """
        return None

    def merged(self, params: Params, own: Own) -> Params:
        """The parameters with which the plain network computes in evaluation what the transformed one does.

        A transform that acts around modules overrides it, or else cannot be merged (see `merges`).
        """
        return self.weights(params, own, None)


def acts_around(transform: Transform) -> bool:
    """Whether a transform has the face `around`."""
    return type(transform).around is not Transform.around


def merges(transform: Transform) -> bool:
    """Whether all that a transform does in evaluation can be written into the network's own parameters."""
    return not acts_around(transform) or type(transform).merged is not Transform.merged


def chosen(sites: Mapping[str, Site], regex: str, module: type = Linear) -> dict[str, Site]:
    """The sites of that class in whose path the regex is found; SpecError, with the nearest paths, for none."""
    known = {path: site for path, site in sites.items() if issubclass(site.module, module)}
    found = {path: site for path, site in known.items() if re.search(regex, path)}
    if not found:
        near = difflib.get_close_matches(re.sub(r"[\\^$.*+?()\[\]{}|]", "", regex), known, n=3, cutoff=0.0)
        raise SpecError(
            f"config.transforms: {regex!r} is found in the path of no {module.__name__.lower()} module of the "
            f"network; the nearest are {', '.join(near) or 'none'}"
        )
    return found
