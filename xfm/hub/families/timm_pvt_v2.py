"""PVT v2 as timm's files have it: Wang et al. 2022.

The oracle is timm's PyramidVisionTransformerV2, whose files these are. config.json has no model_type: the name under
"architecture" says what the network is, and "model_args" what differs from it. Keys and values are one map there, and
the norms of patches and of coarser keys have another epsilon than the others.
"""

import re

import numpy as np

from xfm.configs.vision import pvt_v2
from xfm.hub import timm
from xfm.hub.families.pvt_v2 import kernel, pointwise
from xfm.hub.families.timm_swin import label
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Head
from xfm.hub.naming import At
from xfm.hub.settings import Settings

SIDE = 64  # pixels of the example; the network has no size of its own
NAME = re.compile(rf"pvt_v2_({'|'.join(pvt_v2.SIZES)})(?:\..*)?")
FIXED = {"qkv_bias": True, "norm_layer": None}


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    size = timm.known(c, NAME, ", ".join(f"pvt_v2_{one}" for one in pvt_v2.SIZES))[1]
    given = timm.Arguments(c, FIXED, unread=("global_pool",))
    layers, widths, ratios, _ = pvt_v2.SIZES[size]
    layers, widths = given.take("depths", layers), given.take("embed_dims", widths)
    heads = given.take("num_heads", pvt_v2.HEADS)
    ratios, reductions = given.take("mlp_ratios", ratios), given.take("sr_ratios", pvt_v2.REDUCTIONS)
    linear, channels = given.take("linear", size == "b2_li"), given.take("in_chans", 3)
    given.finish()
    hidden = [int(width * ratio) for width, ratio in zip(widths, ratios, strict=False)]
    spec = pvt_v2.network(
        layers, widths, heads, hidden, "linear" if linear else reductions, classes=0, patches=pvt_v2.PATCHES
    )
    spec["embed"]["channels"] = channels
    return spec | {"heads": {}}


def example(c: Settings) -> Batch:
    """A black image."""
    return dict(images=np.zeros((1, SIDE, SIDE, (c.get("model_args") or {}).get("in_chans", 3)), np.float32))


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states, which are the stages'."""
    layers = (c.get("model_args") or {}).get("depths", pvt_v2.HEADS)
    return tuple(f"stage_{i}" for i in range(len(layers)))


LAYER = "stages.{}.blocks.{}."
NAMES = {
    "embed/stem/conv/kernel": kernel("patch_embed.proj"),
    "embed/stem/conv": "patch_embed.proj",
    "embed/stem/norm": "patch_embed.norm",
    "stage/down/conv/kernel": kernel("stages.{}.downsample.proj"),
    "stage/down/conv": "stages.{}.downsample.proj",
    "stage/down/out_norm": "stages.{}.downsample.norm",
    "stage/norm": "stages.{}.norm",
    "stage/0/in_norm": f"{LAYER}norm1",
    **{
        f"stage/0/part/{inside}{ours}": At(f"{LAYER}attn.{name}", part=part)
        for inside in ("", "mixer/")
        for ours, name, part in (("q", "q", (0, 1)), ("k", "kv", (0, 2)), ("v", "kv", (1, 2)), ("o", "proj", (0, 1)))
    },
    "stage/0/part/down/conv/kernel": kernel(f"{LAYER}attn.sr"),
    "stage/0/part/down/conv": f"{LAYER}attn.sr",
    "stage/0/part/down/out_norm": f"{LAYER}attn.norm",
    "stage/0/part/down/out/kernel": pointwise(f"{LAYER}attn.sr"),  # of the linear variant
    "stage/0/part/down/out": f"{LAYER}attn.sr",
    "stage/0/part/down/norm": f"{LAYER}attn.norm",
    "stage/1/in_norm": f"{LAYER}norm2",
    "stage/1/part/up": f"{LAYER}mlp.fc1",
    "stage/1/part/conv/kernel": kernel(f"{LAYER}mlp.dwconv", depthwise=3),
    "stage/1/part/conv": f"{LAYER}mlp.dwconv",
    "stage/1/part/down": f"{LAYER}mlp.fc2",
}
FAMILY = Family(
    model_type="timm/pvt_v2",
    network=network,
    names=NAMES,
    heads={"image_classification": Head("label", label, {"out": "head"})},
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
