"""BEiT and BEiT v2 as timm's files have them: Bao et al. 2022; Peng et al. 2022.

The oracle is timm's Beit, whose files these are. The two differ in how they were trained and in the first value of
LayerScale. config.json has no model_type; see timm_vit.py.
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from xfm.configs.vision import beit
from xfm.errors import XfmError
from xfm.hub import buffers, timm
from xfm.hub.families import timm_vit, vit
from xfm.hub.family import Batch, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

NAME = re.compile(r"beit(v2)?_(base|large)_patch(\d+)_(\d+)(?:\..*)?")
FIXED = {
    "qkv_bias": True, "swiglu_mlp": False, "scale_mlp": False, "use_abs_pos_emb": False, "use_rel_pos_bias": True,
    "use_shared_rel_pos_bias": False, "use_fc_norm": None, "global_pool": "avg",
}  # fmt: skip
SIZES = {"base": "B", "large": "L"}
EPS = 1e-6


@dataclasses.dataclass(frozen=True)
class Made:
    """What the name and the arguments in config.json make.  image, patch: a side in pixels.  gate: of LayerScale."""

    image: int
    patch: int
    width: int
    layers: int
    heads: int
    hidden: int
    channels: int
    gate: float | None


def made(c: Settings) -> Made:
    """The network that config.json describes.

    Raises XfmError for a name or an argument that xfm does not know, and for images that are not square.
    """
    c.only("global_pool", "avg")
    name = timm.known(c, NAME, "those of the forms beit_base_patchP_PIXELS, beit_large_… and beitv2_…")
    given = timm.Arguments(c, FIXED, unread=("pos_drop_rate", "head_init_scale"))
    layers, width, heads, gate = beit.SIZES[SIZES[name[2]]]
    image, patch = given.sides("img_size", int(name[4])), given.sides("patch_size", int(name[3]))
    if image[0] != image[1] or patch[0] != patch[1]:
        raise XfmError(f"{c.path} has images of {image} and patches of {patch} pixels; xfm reads BEiT with squares")
    width = given.take("embed_dim", width)
    found = Made(
        image=image[0],
        patch=patch[0],
        width=width,
        layers=given.take("depth", layers),
        heads=given.take("num_heads", heads),
        hidden=int(width * given.take("mlp_ratio", 4.0)),
        channels=given.take("in_chans", 3),
        gate=given.take("init_values", 1e-5 if name[1] else gate),
    )
    given.finish()
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    m = made(c)
    spec = beit.network(m.layers, m.width, m.heads, m.patch, m.image, hidden=m.hidden, gate=m.gate, eps=EPS)
    spec["embed"]["channels"] = m.channels
    return spec


def pooled(c: Settings) -> dict:
    """The spec of the pooler: the norm of the patches' mean."""
    return beit.pooler(EPS)


def index(c: Settings, spec: Mapping, array: np.ndarray) -> bool:
    """A check for the rows of the offsets' table that pairs of the class token and the patches have."""
    m = made(c)
    return buffers.same(array, buffers.class_offsets(m.image // m.patch, m.image // m.patch))


def label(c: Settings) -> dict:
    """The spec of the classification head, which reads the pooler's vector."""
    return beit.classifier(timm.classes(c))["label"]


def example(c: Settings) -> Batch:
    """A black image of the size for which the network is made."""
    m = made(c)
    return dict(images=np.zeros((1, m.image, m.image, m.channels), np.float32))


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the patches' kernel and of the learned token."""
    m = made(c)
    kernel = At("patch_embed.proj.weight", axes=(2, 3, 1, 0), sides=(m.patch, m.patch, m.channels, m.width))
    token = At("cls_token", axes=(0, 1, 2), sides=(1, -1, m.width))
    return NAMES | {"embed/patch/kernel": kernel, "embed/cls": token}


LAYER = "blocks.{}."
NAMES: Names = {
    "embed/patch/bias": "patch_embed.proj.bias",
    "layer/0/in_norm": f"{LAYER}norm1",
    **{f"layer/0/part/{a}/kernel": At(f"{LAYER}attn.qkv.weight", part=part) for a, part in timm.QKV.items()},
    "layer/0/part/q/bias": f"{LAYER}attn.q_bias",
    "layer/0/part/v/bias": f"{LAYER}attn.v_bias",
    "layer/0/part/o": f"{LAYER}attn.proj",
    "layer/0/part/position/table": f"{LAYER}attn.relative_position_bias_table",
    "layer/0/skip/scale": f"{LAYER}gamma_1",
    "layer/1/in_norm": f"{LAYER}norm2",
    "layer/1/part/up": f"{LAYER}mlp.fc1",
    "layer/1/part/down": f"{LAYER}mlp.fc2",
    "layer/1/skip/scale": f"{LAYER}gamma_2",
}
BUFFERS = {r".*\.relative_position_index": index, r".*\.k_bias": buffers.zero}
FAMILY = Family(
    model_type="timm/beit",
    network=network,
    names=names,
    heads={
        "pooled": Head("pooled", pooled, {"pool/norm": "fc_norm"}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "head"}, needs=("pooled",)),
    },
    files=Files(
        ignored=dict.fromkeys(BUFFERS, "xfm computes the offsets, and keys have no bias there"), buffers=BUFFERS
    ),
    calling=dataclasses.replace(timm_vit.FAMILY.calling, example=example, inputs=vit.inputs),
)
