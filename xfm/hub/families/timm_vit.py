"""ViT, DeiT with and without a distillation token, DeiT III and DINOv2 with and without registers, in timm's files.

Dosovitskiy et al. 2021; Touvron et al. 2021, 2022; Oquab et al. 2023; Darcet et al. 2024. The oracles are timm's
VisionTransformer and VisionTransformerDistilled, whose files these are. config.json has no model_type: the name under
"architecture" says what the network is, and "model_args" what differs from it. Positions are resized for other images
as timm does for a network with dynamic_img_size.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from xfm.configs.vision import dinov2
from xfm.configs.vision import vit as vit_config
from xfm.hub import timm
from xfm.hub.families import vit
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(
    r"(?:(?P<kind>vit|deit|deit3)_(?P<size>tiny|small|medium|base|large|huge)(?P<distilled>_distilled)?"
    r"_patch(?P<patch>\d+)_(?P<pixels>\d+)"
    r"|vit_(?P<dinov2>small|base|large|giant)_patch14(?P<registers>_reg4)?_dinov2)(?:\..*)?"
)
FORMS = (
    "those of the forms vit_SIZE_patchP_PIXELS, deit_…, deit_SIZE_distilled_…, deit3_…, vit_SIZE_patch14_dinov2 and "
    "vit_SIZE_patch14_reg4_dinov2"
)
FIXED = {"qk_norm": False, "class_token": True, "pre_norm": False, "fc_norm": None, "final_norm": True}
# layers, width, heads
OURS = {"tiny": "Ti", "small": "S", "base": "B", "large": "L", "huge": "H"}
SIZES = {"medium": (12, 512, 8), "giant": dinov2.SIZES["g"][:3]} | {
    name: vit_config.SIZES[size] for name, size in OURS.items()
}
DINOV2 = (14, 518)  # the side in pixels of the patches and the images of DINOv2
GIANT = 2 * 2.66667  # the width of its gated part before it is halved, as a multiple of D, as timm has it


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.

    image, patch: rows and columns in pixels.  hidden: width of the MLP, or of the gated part.  gated: whether there is
    one.  gate: first value of LayerScale, None without it.  cls: tokens with a position, before the patches.
    bare: those without.
    """

    image: tuple[int, int]
    patch: tuple[int, int]
    width: int
    layers: int
    heads: int
    hidden: int
    gated: bool
    channels: int
    bias: bool
    gate: float | None
    cls: int
    bare: int


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    c.only("global_pool", "token")
    name = timm.known(c, NAME, FORMS)
    second, third, gated = name["dinov2"], name["kind"] == "deit3", name["dinov2"] == "giant"
    layers, width, heads = SIZES[second or name["size"]]
    tokens = 2 if name["distilled"] else 1
    unplaced = third or bool(name["registers"])
    given = timm.Arguments(
        c,
        FIXED | {"no_embed_class": unplaced, "global_pool": "token"},
        unread=("pos_drop_rate", "patch_drop_rate", "weight_init", "dynamic_img_pad"),
    )
    patch, image = DINOV2 if second else (int(name["patch"]), int(name["pixels"]))
    width = given.take("embed_dim", width)
    hidden = int(width * given.take("mlp_ratio", GIANT if gated else 4.0))
    found = Made(
        image=given.sides("img_size", image),
        patch=given.sides("patch_size", patch),
        width=width,
        layers=given.take("depth", layers),
        heads=given.take("num_heads", heads),
        hidden=hidden // 2 if gated else hidden,
        gated=gated,
        channels=given.take("in_chans", 3),
        bias=given.take("qkv_bias", True),
        gate=given.take("init_values", 1e-6 if third else 1e-5 if second else None),
        cls=0 if unplaced else tokens,
        bare=tokens + given.take("reg_tokens", 4 if name["registers"] else 0) if unplaced else 0,
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    spec = vit_config.network(m.layers, m.width, m.heads, m.patch, m.image, 0, "gelu", m.hidden, cls=m.cls)
    spec["embed"] |= dict(channels=m.channels, registers=m.bare)
    spec["embed"]["position"]["resize"] = "bicubic_antialiased"
    spec["pattern"][0]["bias"] = True if m.bias else ("o",)
    if m.gated:
        spec["pattern"][1] = dict(kind="glu", hidden=m.hidden, activation="silu")
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
    learned = {"embed/cls/0": "cls_token", "embed/cls/1": "dist_token", "embed/position/table": "pos_embed"}
    if m.bare:
        learned |= {"embed/registers/0": "cls_token", "embed/registers/rest": "reg_token"}
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
    "layer/mlp_1/part/up": f"{LAYER}mlp.fc1",
    "layer/glu_1/part/gate": At(f"{LAYER}mlp.fc1", part=(0, 2)),
    "layer/glu_1/part/up": At(f"{LAYER}mlp.fc1", part=(1, 2)),
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
