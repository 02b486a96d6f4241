"""BEiT: Bao et al. 2022.

The oracles are transformers' BeitModel and its classes for classification and masked images, whose files these are. Of
images of other sizes than the square one of config.json, the offsets' table is resized as transformers does.
"""

import dataclasses

import numpy as np

from xfm.configs.vision import beit
from xfm.errors import XfmError
from xfm.hub import buffers, keys
from xfm.hub.families import vit
from xfm.hub.families.backbones import is_backbone
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import Names
from xfm.hub.settings import ACTIVATIONS, Settings

# Fields of heads that may not be loaded, of heads that xfm does not have, of backbones, or of training.
APART = (
    *("vocab_size", "use_mean_pooling", "drop_path_rate", "semantic_loss_ignore_index", "pool_scales", "add_fpn"),
    *("use_auxiliary_head", "auxiliary_loss_weight", "auxiliary_channels", "auxiliary_num_convs"),
    *("auxiliary_concat_input", "out_features", "out_indices", "stage_names", "reshape_hidden_states"),
)
SWITCH = {True: True, False: False}
TABLE = "relative_position_bias.relative_position_bias_table"
INDEX = {r".*relative_position_index": "xfm computes which row of the table an offset has"}


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads.

    Raises XfmError for relative positions of images that are not square, which transformers reads in another order than
    the authors' program, for two kinds of them at once, and for backbones.
    """
    for key in APART:
        c.get(key)
    if is_backbone(c):
        raise XfmError(
            f"{c.path} is of BeitBackbone, which xfm does not have; load the files of BeitModel, or of a head"
        )
    patch, size = vit.patch_and_size(c, 16)
    each, shared, absolute = (
        c.choose(f"use_{kind}", SWITCH, False)
        for kind in ("relative_position_bias", "shared_relative_position_bias", "absolute_position_embeddings")
    )
    if each and shared:
        raise XfmError(f"{c.path} sets relative positions of each layer and shared ones; xfm has BEiT with one of them")
    if (each or shared) and size[0] * vit.sides(c, "patch_size", 16)[1] != size[1] * vit.sides(c, "patch_size", 16)[0]:
        raise XfmError(f"{c.path} has an image_size of {size}; with relative positions it must be square in patches")
    spec = beit.network(
        c.get("num_hidden_layers", 12),
        c.get("hidden_size", 768),
        c.get("num_attention_heads", 12),
        patch,
        size,
        hidden=c.get("intermediate_size", 3072),
        positions="layer" if each else "shared" if shared else "none",
        gate=c.get("layer_scale_init_value", 0.1),
        eps=c.get("layer_norm_eps", 1e-12),
    )
    spec["embed"] |= dict(channels=c.get("num_channels", 3), mask="token" if c.get("use_mask_token", False) else None)
    if absolute:
        spec["embed"]["position"] = dict(kind="learned_grid", size=grid(c), first=1)
    spec["pattern"][1]["activation"] = c.choose("hidden_act", ACTIVATIONS, "gelu")
    return spec | dict(norm=spec["norms"]["in"] if last_norm(c) else None)


def last_norm(c: Settings) -> bool:
    """Whether the network has a norm after its last layer; with mean pooling it comes after the pool instead."""
    return not c.choose("use_mean_pooling", SWITCH, True)


def grid(c: Settings) -> int | tuple[int, int]:
    """The number of patches along the sides of an image."""
    h, w = (n // p for n, p in zip(vit.sides(c, "image_size", 224), vit.sides(c, "patch_size", 16), strict=True))
    return h if h == w else (h, w)


def pooled(c: Settings) -> dict:
    """The spec of the pooler: the norm of the patches' mean, or the cls token."""
    eps = c.get("layer_norm_eps", 1e-12)
    return dict(kind="vector", pool=dict(kind="cls")) if last_norm(c) else beit.pooler(eps)


def label(c: Settings) -> dict:
    """The spec of the classification head, which reads the pooler's vector."""
    return beit.classifier(len(c.labels))["label"]


def visual_tokens(c: Settings) -> dict:
    """The spec of the head for visual tokens."""
    return beit.visual_tokens(c.get("vocab_size", 8192), c.get("layer_norm_eps", 1e-12))


def positions(spec, kind: str) -> bool:
    """Whether a network has relative positions of this kind in its layers."""
    return keys.at(spec, "pattern/0/position/kind") == kind


def image_size(spec) -> int | list[int]:
    """The size in pixels of the images for which the positions are learned; 224 where there are none."""
    for path in ("embed/position", "pattern/0/position", "position"):
        if keys.at(spec, f"{path}/size") is not None:
            return vit.image_size(dict(spec, embed=dict(spec["embed"], position=keys.at(spec, path))))
    return 224


def eps(spec) -> float | None:
    """The epsilon of the norms in the layers."""
    return keys.at(spec, "norms/in/eps")


NAMES = vit.NAMES | {
    "layer/0/part/position/table": f"{vit.LAYER}attention.attention.{TABLE}",
    "layer/0/skip/scale": f"{vit.LAYER}lambda_1",
    "layer/1/skip/scale": f"{vit.LAYER}lambda_2",
    "position/table": f"encoder.{TABLE}",
}
KEYS = {
    **keys.ENCODER,
    "layer_norm_eps": eps,
    "image_size": image_size,
    "patch_size": "embed/patch",
    "num_channels": "embed/channels",
    "use_mask_token": vit.masked,
    "use_absolute_position_embeddings": lambda spec: keys.at(spec, "embed/position/kind") == "learned_grid",
    "use_relative_position_bias": lambda spec: positions(spec, "relative_patches"),
    "use_shared_relative_position_bias": lambda spec: positions(spec, "shared"),
    "layer_scale_init_value": lambda spec: keys.at(spec, "residual/gate") or 0.0,
    "use_mean_pooling": lambda spec: spec["norm"] is None,
    "vocab_size": "heads/tokens/head/classes",
}


def names(c: Settings) -> Names:
    """The table of names, with the shapes of the patches' kernel and the learned tokens."""
    return vit.names({"embed/cls": "embeddings.cls_token", **vit.POSITIONS}, NAMES)(c)


def index(c: Settings, spec, array: np.ndarray) -> bool:
    """A check for the rows of the offsets' table that pairs of the class token and the patches have."""
    rows, columns = (
        n // p for n, p in zip(vit.sides(c, "image_size", 224), vit.sides(c, "patch_size", 16), strict=True)
    )
    return buffers.same(array, buffers.class_offsets(rows, columns))


HEADS = {
    "pooled": Head("pooled", pooled, {"pool/norm": "pooler.layernorm"}, of_encoder=True),
    "image_classification": Head("label", label, {"out": "classifier"}, needs=("pooled",)),
    "masked_image_modeling": Head("tokens", visual_tokens, {"norm": "layernorm", "head/out": "lm_head"}),
}
CLS = Family(  # with use_mean_pooling false: `layernorm` is the network's last one, and the pooler has no parameters
    model_type="beit",
    prefix="beit.",
    network=network,
    keys=KEYS,
    classes="Beit",
    names=names,
    heads={
        "pooled": dataclasses.replace(HEADS["pooled"], names={}),
        "image_classification": HEADS["image_classification"],
    },
    architectures={"Model": ("pooled",), "ForImageClassification": ("image_classification",)},
    files=Files(ignored=vit.MASK_TOKEN | INDEX, buffers={r".*relative_position_index": index}),
    calling=Calling(reads="images", inputs=vit.inputs, example=vit.example, more=("bool_masked_pos",), last="layer"),
)
FAMILY = dataclasses.replace(
    CLS,
    heads=HEADS,
    architectures=CLS.architectures | {"ForMaskedImageModeling": ("masked_image_modeling",)},
    files=dataclasses.replace(CLS.files, kin={("use_mean_pooling", False): CLS}),
)
