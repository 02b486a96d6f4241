"""TinyViT as timm's files have it: Wu et al. 2022.

The oracle is timm's TinyVit, whose files these are. config.json has no model_type: the name under "architecture" says
what the network is, and "model_args" what differs from it. Queries, keys and values are one map, in which those of each
head stand together, and the norm before them belongs to the attention.
"""

import re
from collections.abc import Sequence

import numpy as np

from xfm.configs.vision import tinyvit
from xfm.errors import XfmError
from xfm.fields import shown
from xfm.hub import timm
from xfm.hub.families.pvt_v2 import kernel, pointwise
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(r"tiny_vit_(5m|11m|21m)_(224|384|512)(?:\..*)?")
FIXED = {"act_layer": None, "use_checkpoint": False}
LARGER = {"224": 1, "384": 12 / 7, "512": 16 / 7}  # sides of the windows, as multiples of those for 224 pixels


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    name = timm.known(c, NAME, "those of the form tiny_vit_SIZE_PIXELS")
    given = timm.Arguments(c, FIXED, unread=("global_pool",))
    widths, heads, _ = tinyvit.SIZES[name[1].upper()]
    windows = tuple(round(LARGER[name[2]] * side) for side in tinyvit.WINDOWS)
    lists = dict(
        depths=given.take("depths", tinyvit.LAYERS),
        embed_dims=given.take("embed_dims", widths),
        num_heads=given.take("num_heads", (1, *heads)),
        window_sizes=given.take("window_sizes", (1, *windows)),
    )
    layers, widths, heads, windows = lists.values()
    for key, value in lists.items():
        if len(value) != len(layers):
            raise XfmError(
                f"{c.path} sets {key} to {shown(value)}; it must list a value for each of the {len(layers)} stages"
            )
    hidden, inner = given.take("mlp_ratio", 4.0), given.take("mbconv_expand_ratio", 4.0)
    size, channels = given.take("local_conv_size", 3), given.take("in_chans", 3)
    given.finish()
    spec = tinyvit.network(layers, widths, heads[1:], windows[1:], 0, hidden=hidden, inner=inner, size=size)
    spec["embed"]["channels"] = channels
    return spec | {"heads": {}}


def label(c: Settings) -> dict:
    """The spec of the classification head, with the norm of the mean."""
    pool = dict(kind="normed", pool=dict(kind="mean"), norm=dict(kind="layernorm", eps=1e-5))
    return dict(kind="classification", classes=timm.classes(c), pool=pool)


def example(c: Settings) -> Batch:
    """A black image."""
    return dict(images=np.zeros((1, 64, 64, (c.get("model_args") or {}).get("in_chans", 3)), np.float32))


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states, which are the stages'."""
    layers = (c.get("model_args") or {}).get("depths", tinyvit.LAYERS)
    return tuple(f"stage_{i}" for i in range(len(layers)))


def normed(ours: str, norm: str, name: str, conv: At) -> dict[str, str | At]:
    """The rows of a convolution and its batch norm.  conv: the row of the kernel."""
    return {f"{ours}/kernel": conv, norm: f"{name}.bn"}


def bottleneck(ours: str, name: str, maps: Sequence[str], norms: Sequence[str]) -> dict[str, str | At]:
    """The rows of an inverted bottleneck.  maps, norms: what xfm calls its three maps and their norms."""
    kernels = (pointwise(f"{name}conv1.conv"), kernel(f"{name}conv2.conv", depthwise=3), pointwise(f"{name}conv3.conv"))
    found = {f"{ours}/{one}/kernel": row for one, row in zip(maps, kernels, strict=True)}
    return found | {f"{ours}/{norm}_norm": f"{name}conv{i + 1}.bn" for i, norm in enumerate(norms)}


LAYER = "stages.{}.blocks.{}."


def names(c: Settings) -> Names:
    """The table of names of the files that config.json describes."""
    size = (c.get("model_args") or {}).get("local_conv_size", 3)
    return NAMES | {"stage/1/part/conv/kernel": kernel(f"{LAYER}local_conv.conv", depthwise=size)}


NAMES: Names = {
    **normed("embed/stem/conv_0", "embed/stem/norm_0", "patch_embed.conv1", kernel("patch_embed.conv1.conv")),
    **normed("embed/stem/conv_1", "embed/stem/norm_1", "patch_embed.conv2", kernel("patch_embed.conv2.conv")),
    **bottleneck("stage_0/0/part", LAYER, ("in", "mixer/conv", "out"), ("in", "mixer", "out")),
    **bottleneck("stage/down", "stages.{}.downsample.", ("up", "conv", "down"), ("up", "conv", "down")),
    "stage/0/part/mixer/norm": f"{LAYER}attn.norm",
    **{
        f"stage/0/part/mixer/mixer/{a}/{leaf}": At(f"{LAYER}attn.qkv.{name}", part=part, heads="each")
        for a, part in timm.QKV.items()
        for leaf, name in (("kernel", "weight"), ("bias", "bias"))
    },
    "stage/0/part/mixer/mixer/o": f"{LAYER}attn.proj",
    "stage/0/part/mixer/mixer/position/table": At(f"{LAYER}attn.attention_biases", axes=(1, 0), merged=2),
    "stage/1/out_norm": f"{LAYER}local_conv.bn",
    "stage/2/in_norm": f"{LAYER}mlp.norm",
    "stage/2/part/up": f"{LAYER}mlp.fc1",
    "stage/2/part/down": f"{LAYER}mlp.fc2",
}
FAMILY = Family(
    model_type="timm/tiny_vit",
    network=network,
    names=names,
    heads={"image_classification": Head("label", label, {"pool/norm": "head.norm", "out": "head.fc"})},
    sublayers={"stage_0": 1, "stage": 3},
    files=Files(ignored={r".*\.num_batches_tracked": "xfm's moving averages do not count batches"}),
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
