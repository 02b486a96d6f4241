"""ViT, DeiT with and without a distillation token, DeiT III and DINOv2 as timm's files have them.

Dosovitskiy et al. 2021; Touvron et al. 2021, 2022; Oquab et al. 2023. The oracles are timm's VisionTransformer and
VisionTransformerDistilled, whose files these are. config.json has no model_type: the name under "architecture" says
what the network is, and "model_args" what differs from it. Positions are resized for other images as timm does for a
network with dynamic_img_size.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from xfm.configs.vision import vit as vit_config
from xfm.hub import timm
from xfm.hub.families import vit
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(
    r"(vit|deit|deit3)_(tiny|small|medium|base|large|huge)(_distilled)?_patch(\d+)_(?:(\d+)|dinov2)(?:\..*)?"
)
FIXED = {"qk_norm": False, "class_token": True, "reg_tokens": 0, "pre_norm": False, "fc_norm": None, "final_norm": True}
# layers, width, heads
OURS = {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
SIZES = {"medium": (12, 512, 8)} | {name: vit_config.SIZES[size] for name, size in OURS.items()}
DINOV2 = 518  # the side in pixels of the images of DINOv2, which its names do not say


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    image, patch: rows and columns in pixels.  ratio: width of the MLP as a multiple of D.  gate: first value of
    LayerScale, None without it.  cls: tokens with a position, before the patches.  bare: those without.
    """

    image: tuple[int, int]
    patch: tuple[int, int]
    width: int
    layers: int
    heads: int
    ratio: float
    channels: int
    bias: bool
    gate: float | None
    cls: int
    bare: int


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    c.only("global_pool", "token")
    names = (
        "those of the forms vit_SIZE_patchP_PIXELS, deit_…, deit_SIZE_distilled_…, deit3_… and vit_SIZE_patch14_dinov2"
    )
    name = timm.known(c, NAME, names)
    layers, width, heads = SIZES[name[2]]
    third, tokens = name[1] == "deit3", 2 if name[3] else 1
    fixed = {**FIXED, "no_embed_class": third, "global_pool": "token"}
    given = timm.Arguments(c, fixed, unread=("pos_drop_rate", "patch_drop_rate", "weight_init", "dynamic_img_pad"))
    scaled = third or name[5] is None
    found = Made(
        image=given.sides("img_size", int(name[5] or DINOV2)),
        patch=given.sides("patch_size", int(name[4])),
        width=given.take("embed_dim", width),
        layers=given.take("depth", layers),
        heads=given.take("num_heads", heads),
        ratio=given.take("mlp_ratio", 4.0),
        channels=given.take("in_chans", 3),
        bias=given.take("qkv_bias", True),
        gate=given.take("init_values", 1e-6 if third else 1e-5 if scaled else None),
        cls=0 if third else tokens,
        bare=tokens if third else 0,
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    hidden = int(m.width * m.ratio)
    spec = vit_config.network(m.layers, m.width, m.heads, m.patch, m.image, 0, "gelu", hidden, cls=m.cls)
    spec["embed"] |= dict(channels=m.channels, registers=m.bare)
    spec["embed"]["position"]["resize"] = "bicubic_antialiased"
    spec["pattern"][0]["bias"] = True if m.bias else ("o",)
    if m.gate is not None:
        spec["residual"] = dict(kind="scaled", gate=m.gate, learn="channel")
    return spec | {"heads": {}}


def label(index: int):
    """From config.json to the spec of a classification head that reads this one of the first tokens."""

    def of(c: Settings) -> dict[str, Any]:
        return dict(kind="classification", classes=timm.classes(c), pool=dict(kind="cls", index=index))

    return of


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, *m.image, m.channels), np.float32))


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the patches' kernel and of the learned tokens."""
    m = made(c)
    tokens = ("embed/registers/0",) if m.bare else ("embed/cls/0", "embed/cls/1")
    learned = dict(zip(tokens, ("cls_token", "dist_token"), strict=False)) | {"embed/position/table": "pos_embed"}
    return (
        NAMES
        | {key: At(name, axes=(0, 1, 2), sides=(1, -1, m.width)) for key, name in learned.items()}
        | {
            "embed/patch/kernel": At(
                "patch_embed.proj.weight", axes=(2, 3, 1, 0), sides=(*m.patch, m.channels, m.width)
            )
        }
    )


LAYER = "blocks.{}."
NAMES: Names = {
    "embed/patch/bias": "patch_embed.proj.bias",
    "layer/0/in_norm": f"{LAYER}norm1",
    **{f"layer/0/part/{a}/kernel": At(f"{LAYER}attn.qkv.weight", part=part) for a, part in timm.QKV.items()},
    **{f"layer/0/part/{a}/bias": At(f"{LAYER}attn.qkv.bias", part=part) for a, part in timm.QKV.items()},
    "layer/0/part/o": f"{LAYER}attn.proj",
    "layer/0/skip/scale": f"{LAYER}ls1.gamma",
    "layer/1/in_norm": f"{LAYER}norm2",
    "layer/1/part/up": f"{LAYER}mlp.fc1",
    "layer/1/part/down": f"{LAYER}mlp.fc2",
    "layer/1/skip/scale": f"{LAYER}ls2.gamma",
    "norm": "norm",
}
FAMILY = Family(
    model_type="timm/vit",
    network=network,
    names=names,
    heads={"image_classification": Head("label", label(0), {"out": "head"})},
    files=Files(),
    calling=Calling(reads="images", inputs=vit.inputs, example=example, last="layer"),
)
DISTILLED = dataclasses.replace(
    FAMILY,
    model_type="timm/deit_distilled",
    heads={
        "image_classification_with_teacher": Head("cls", label(0), {"out": "head"}),
        "distillation": Head("distillation", label(1), {"out": "head_dist"}),
    },
    calling=dataclasses.replace(FAMILY.calling, outputs=vit.mean_of_two),
)
