"""A smaller network out of a larger one with which it shares its weights.

Liao et al. 2021 (ViT-ResNAS), section 3.2: a sub-network has the first channels, the first heads, the first hidden
units and the first layers of the super-network. The authors' program may leave out other layers than the last ones.
"""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from xfm.errors import XfmError, nearest
from xfm.paths import flatten


def sliced(params: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a smaller network: of each of the larger one's, the first entries along every axis.

    params: of the larger network.  shapes: the parameters of the smaller one, as arrays or as shapes; those that only
    the larger one has, as its further layers do, are left out.
    Raises XfmError, naming the parameter, for one that the larger network lacks, or that is larger in the smaller one.
    """
    whole, found = flatten(params), {}
    for path, wanted in flatten(shapes).items():
        if path not in whole:
            raise XfmError(f"the larger network has no parameter {path}{nearest(path, whole)}")
        given = whole[path].shape
        if len(given) != len(wanted.shape) or any(n > N for n, N in zip(wanted.shape, given, strict=True)):
            raise XfmError(f"{path} has the shape {given} in the larger network, which holds none of {wanted.shape}")
        found[path] = whole[path][tuple(slice(n) for n in wanted.shape)]
    return traverse_util.unflatten_dict(found, sep="/")
