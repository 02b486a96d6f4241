"""EVA-02 as timm's files have it: Fang et al. 2023. The oracle is timm's Eva, whose files these are.

The gated feed-forward parts of its base and large networks have a norm within, and their queries, keys and values are
maps of their own in the files. config.json has no model_type; see timm_vit.py.
"""

import dataclasses
import re

import numpy as np

from xfm.configs.vision import vit as vit_config
from xfm.hub import buffers, timm
from xfm.hub.families import timm_vit, vit
from xfm.hub.family import Batch, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(r"eva02_(tiny|small|base|large)_patch(\d+)_(\d+)(?:\..*)?")
FIXED = {
    "qkv_bias": True, "use_rot_pos_emb": True, "use_abs_pos_emb": True, "swiglu_mlp": True, "scale_attn_inner": False,
    "init_values": None, "use_post_norm": False, "num_reg_tokens": 0, "class_token": True, "global_pool": "avg",
}  # fmt: skip
FROM = 224  # the side in pixels of the images from which positions are counted


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.  image, patch: rows and columns in pixels.

    ratio: width of the gated part as a multiple of D.  grid: from which positions are counted.  larger: whether this
    is one of the networks with a norm in the gated part.
    """

    image: tuple[int, int]
    patch: tuple[int, int]
    width: int
    layers: int
    heads: int
    ratio: float
    channels: int
    grid: tuple[int, int]
    larger: bool


def made(c: Settings) -> Made:
    """The network that config.json describes. Raises XfmError for a name or an argument that xfm does not know."""
    c.only("global_pool", "avg")
    name = timm.known(c, NAME, "those of the form eva02_SIZE_patchP_PIXELS, from tiny to large")
    larger = name[1] in ("base", "large")
    given = timm.Arguments(c, FIXED | {"scale_mlp": larger, "qkv_fused": not larger})
    layers, width, heads = timm_vit.SIZES[name[1]]
    patch = given.sides("patch_size", int(name[2]))
    found = Made(
        image=given.sides("img_size", int(name[3])),
        patch=patch,
        width=given.take("embed_dim", width),
        layers=given.take("depth", layers),
        heads=given.take("num_heads", heads),
        ratio=given.take("mlp_ratio", 4 * 2 / 3),
        channels=given.take("in_chans", 3),
        grid=given.sides("ref_feat_shape", [FROM // side for side in patch]),
        larger=larger,
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    spec = vit_config.network(m.layers, m.width, m.heads, m.patch, m.image, 0, "silu")
    spec["embed"]["channels"] = m.channels
    spec["embed"]["position"]["resize"] = "bicubic_antialiased"
    rope = dict(kind="rope_2d", theta=10_000.0, pairs="neighbours", first="row", size=m.grid)
    glu = dict(kind="glu", hidden=int(m.width * m.ratio), activation="silu")
    if m.larger:
        glu |= dict(kind="normed_glu", norm=spec["norm"])
    spec["pattern"] = [dict(kind="attention", heads=m.heads, bias=("q", "v", "o"), position=rope), glu]
    return spec | dict(norm=None, heads={})


def label(c: Settings) -> dict:
    """The spec of the classification head, which reads the pooler's vector."""
    return dict(kind="classification", classes=timm.classes(c), pool=dict(kind="of_head", head="pooled"))


def pooled(c: Settings) -> dict:
    """The spec of the pooler: the norm of the patches' mean."""
    return dict(kind="vector", pool=dict(kind="normed", norm=dict(kind="layernorm", eps=1e-6)))


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, *m.image, m.channels), np.float32))


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the patches' kernel and of the learned tokens."""
    m = made(c)
    learned = {"embed/cls": "cls_token", "embed/position/table": "pos_embed"}
    kernel = At("patch_embed.proj.weight", axes=(2, 3, 1, 0), sides=(*m.patch, m.channels, m.width))
    tokens = {key: At(name, axes=(0, 1, 2), sides=(1, -1, m.width)) for key, name in learned.items()}
    return NAMES | (LARGER if m.larger else FUSED) | tokens | {"embed/patch/kernel": kernel}


LAYER = "blocks.{}."
NAMES: Names = {
    "embed/patch/bias": "patch_embed.proj.bias",
    "layer/0/in_norm": f"{LAYER}norm1",
    "layer/0/part/o": f"{LAYER}attn.proj",
    "layer/1/in_norm": f"{LAYER}norm2",
    "layer/1/part/down": f"{LAYER}mlp.fc2",
}
FUSED: Names = {
    **{f"layer/0/part/{a}/kernel": At(f"{LAYER}attn.qkv.weight", part=part) for a, part in timm.QKV.items()},
    "layer/0/part/q/bias": f"{LAYER}attn.q_bias",
    "layer/0/part/v/bias": f"{LAYER}attn.v_bias",
    "layer/1/part/gate": At(f"{LAYER}mlp.fc1", part=(0, 2)),
    "layer/1/part/up": At(f"{LAYER}mlp.fc1", part=(1, 2)),
}
LARGER: Names = {
    **{f"layer/0/part/{a}": f"{LAYER}attn.{a}_proj" for a in "qkv"},
    "layer/1/part/gate": f"{LAYER}mlp.fc1_g",
    "layer/1/part/up": f"{LAYER}mlp.fc1_x",
    "layer/1/part/norm": f"{LAYER}mlp.norm",
}
K_BIAS = r".*\.k_bias"
FAMILY = Family(
    model_type="timm/eva02",
    network=network,
    names=names,
    heads={
        "pooled": Head("pooled", pooled, {"pool/norm": "fc_norm"}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "head"}, needs=("pooled",)),
    },
    files=Files(ignored={K_BIAS: "keys have no bias"}, buffers={K_BIAS: buffers.zero}),
    calling=dataclasses.replace(timm_vit.FAMILY.calling, example=example, inputs=vit.inputs),
)
