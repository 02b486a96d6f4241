"""Structures: the ways in which parts are joined to a network."""

from collections.abc import Mapping

from flax import linen as nn

from xfm.spec import Spec, SpecError
from xfm.spec import build as build_from
from xfm.structures.autoencoder import Autoencoder
from xfm.structures.funnel import Funnel
from xfm.structures.hourglass import Hourglass
from xfm.structures.interleaved import Interleaved
from xfm.structures.nested import Nested
from xfm.structures.pretrained import network
from xfm.structures.pyramid import Pyramid
from xfm.structures.pyramid_autoencoder import PyramidAutoencoder
from xfm.structures.stack import Stack
from xfm.structures.towers import Towers
from xfm.structures.unet import UNet

STRUCTURES = {
    "stack": Stack,
    "pyramid": Pyramid,
    "pyramid_autoencoder": PyramidAutoencoder,
    "nested": Nested,
    "interleaved": Interleaved,
    "unet": UNet,
    "hourglass": Hourglass,
    "funnel": Funnel,
    "towers": Towers,
    "autoencoder": Autoencoder,
}


def build(spec: Spec) -> nn.Module:
    """The network that a spec describes: `config.model`, or any mapping like it; for kind "pretrained" its default."""
    spec = network(spec)
    if isinstance(spec, Mapping) and spec.get("kind") == "pyramid" and "blocks" in spec:
        raise SpecError("the structure whose blocks halve the tokens is called 'funnel' now; set kind='funnel'")
    return build_from(STRUCTURES, spec)
