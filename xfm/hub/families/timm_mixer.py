"""MLP-Mixer as timm's files have it: Tolstikhin et al. 2021.

The oracle is timm's MlpMixer, whose files these are. config.json has no model_type; see timm_vit.py.
"""

import dataclasses
import re

import numpy as np

from xfm.configs.vision import mixer
from xfm.hub import timm
from xfm.hub.families import timm_vit
from xfm.hub.families.timm_swin import label
from xfm.hub.family import Batch, Family, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(r"mixer_(s|b|l)(\d+)_(\d+)(?:\..*)?")
FIXED = {"stem_norm": False, "global_pool": "avg"}


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    image, patch: rows and columns in pixels.  tokens, hidden: widths of the MLPs over tokens and over channels.
    """

    image: tuple[int, int]
    patch: tuple[int, int]
    layers: int
    width: int
    tokens: int
    hidden: int
    channels: int


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    c.only("global_pool", "avg")
    name = timm.known(c, NAME, "mixer_s, mixer_b and mixer_l, as in mixer_b16_224")
    layers, width, tokens, hidden = mixer.SIZES[name[1].upper()]
    given = timm.Arguments(c, FIXED, unread=("nlhb",))
    own = given.take("embed_dim", width)
    over_tokens, over_channels = given.take("mlp_ratio", (tokens / width, hidden / width))
    found = Made(
        image=given.sides("img_size", int(name[3])),
        patch=given.sides("patch_size", int(name[2])),
        layers=given.take("num_blocks", layers),
        width=own,
        tokens=int(own * over_tokens),
        hidden=int(own * over_channels),
        channels=given.take("in_chans", 3),
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    spec = mixer.network(m.layers, m.width, m.tokens, m.hidden, m.patch, classes=0)
    spec["embed"]["channels"] = m.channels
    return spec | {"heads": {}}


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, *m.image, m.channels), np.float32))


def names(c: Settings) -> Names:
    """The table of names, with the shape of the patches' kernel."""
    m = made(c)
    kernel = At("stem.proj.weight", axes=(2, 3, 1, 0), sides=(*m.patch, m.channels, m.width))
    return NAMES | {"embed/patch/kernel": kernel}


LAYER = "blocks.{}."
NAMES: Names = {
    "embed/patch/bias": "stem.proj.bias",
    "layer/0/in_norm": f"{LAYER}norm1",
    "layer/0/part/up": f"{LAYER}mlp_tokens.fc1",
    "layer/0/part/down": f"{LAYER}mlp_tokens.fc2",
    "layer/1/in_norm": f"{LAYER}norm2",
    "layer/1/part/up": f"{LAYER}mlp_channels.fc1",
    "layer/1/part/down": f"{LAYER}mlp_channels.fc2",
    "norm": "norm",
}
FAMILY = Family(
    model_type="timm/mixer",
    network=network,
    names=names,
    heads={"image_classification": Head("label", label, {"out": "head"})},
    calling=dataclasses.replace(timm_vit.FAMILY.calling, example=example),
)
