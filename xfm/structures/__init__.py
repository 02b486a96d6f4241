"""The middle floor: parts joined to a network."""

from flax import linen as nn

from xfm.spec import Spec
from xfm.spec import build as build_from
from xfm.structures.hourglass import Hourglass
from xfm.structures.pretrained import network
from xfm.structures.pyramid import Pyramid
from xfm.structures.stack import Stack

STRUCTURES = {
    "stack": Stack,
    "hourglass": Hourglass,
    "pyramid": Pyramid,
}


def build(spec: Spec) -> nn.Module:
    """The network that a spec describes: `config.model`, or any mapping like it; of a "pretrained" one its default."""
    return build_from(STRUCTURES, network(spec))
