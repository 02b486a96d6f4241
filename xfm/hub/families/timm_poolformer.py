"""PoolFormer as timm's files have it: Yu et al. 2022.

The oracle is timm's MetaFormer as it makes PoolFormer, whose files these are. The classifier norms the mean of the
stream, where transformers takes the mean of the normed stream. config.json has no model_type; see timm_convnext.py.
"""

import re

from xfm.configs.vision import poolformer
from xfm.hub import timm
from xfm.hub.families.pvt_v2 import kernel, pointwise
from xfm.hub.families.timm_convnext import SIDE, streams
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.naming import Names
from xfm.hub.settings import Settings

NAME = re.compile(rf"poolformer_({'|'.join(poolformer.SIZES)})(?:\..*)?")
FIXED = {"mlp_bias": True, "res_scale_init_values": None, "use_mlp_head": False, "downsample_norm": None}
NORM = dict(kind="layernorm", eps=1e-6)


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    name = timm.known(c, NAME, ", ".join(f"poolformer_{size}" for size in poolformer.SIZES))
    layers, widths, _, scale = poolformer.SIZES[name[1]]
    given = timm.Arguments(c, FIXED, unread=("global_pool",))
    layers, widths, pool = given.take("depths", layers), given.take("dims", widths), given.take("pool_size", 3)
    scale, channels = given.take("layer_scale_init_values", scale), given.take("in_chans", 3)
    given.finish()
    timm.refuse(len(layers) != 4 or len(widths) != 4, c, "depths or dims", "a number for each of four stages")
    spec = poolformer.network(layers, widths, pool=pool, scale=scale, classes=0)
    spec["embed"]["channels"] = channels
    return spec | {"heads": {}}


def label(c: Settings) -> dict:
    """The spec of the classification head, which norms the mean over all positions."""
    return dict(kind="classification", classes=timm.classes(c), pool=dict(kind="normed", norm=NORM, pool=MEAN))


def example(c: Settings) -> Batch:
    """A black image."""
    return timm.black(c, SIDE, SIDE)


MEAN = dict(kind="mean")
STAGE = "stages.{}."
LAYER = f"{STAGE}blocks.{{}}."
NAMES: Names = {
    "embed/stem/conv/kernel": kernel("stem.conv"),
    "embed/stem/conv": "stem.conv",
    "stage/down/conv/kernel": kernel(f"{STAGE}downsample.conv"),
    "stage/down/conv": f"{STAGE}downsample.conv",
    "stage/0/in_norm": f"{LAYER}norm1",
    "stage/0/skip/scale": f"{LAYER}layer_scale1.scale",
    "stage/1/in_norm": f"{LAYER}norm2",
    "stage/1/part/up/kernel": pointwise(f"{LAYER}mlp.fc1"),
    "stage/1/part/up": f"{LAYER}mlp.fc1",
    "stage/1/part/down/kernel": pointwise(f"{LAYER}mlp.fc2"),
    "stage/1/part/down": f"{LAYER}mlp.fc2",
    "stage/1/skip/scale": f"{LAYER}layer_scale2.scale",
}
FAMILY = Family(
    model_type="timm/poolformer",
    network=network,
    names=NAMES,
    heads={"image_classification": Head("label", label, {"out": "head.fc", "pool/norm": "head.norm"})},
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
