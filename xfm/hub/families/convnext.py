"""ConvNeXt and ConvNeXt V2: Liu et al. 2022; Woo et al. 2023.

The oracles are transformers' ConvNextModel and ConvNextV2Model with their classification heads, and their backbones,
whose files these are.
The norm after the mean over all positions has the epsilon of config.json, all others have 1e-6.
"""

import dataclasses

from xfm.configs.vision import convnext
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.families import backbones
from xfm.hub.families.backbones import is_backbone
from xfm.hub.families.pvt_v2 import UNREAD, kernel, of_stages, stages_of, widths
from xfm.hub.families.swin import per_stage
from xfm.hub.families.vit import example, inputs
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

DEPTHS, WIDTHS = (3, 3, 9, 3), (96, 192, 384, 768)
RESPONSE = 1e-6
FEATURE_NORM = dict(kind="layernorm", eps=1e-6)


def network(c: Settings, response: float | None = None) -> dict:
    """The spec of the network that config.json describes, without heads.

    response: epsilon of V2's global response normalisation, None for the first version, which has LayerScale.
    """
    lists = dict(depths=per_stage(c, "depths", DEPTHS), hidden_sizes=per_stage(c, "hidden_sizes", WIDTHS))
    stages_of(c, "num_stages", **lists)
    for key in UNREAD:  # they do not change the result
        c.get(key)
    c.get("layer_norm_eps")  # of the heads
    patch = c.get("patch_size", 4)
    if not isinstance(patch, int):
        raise XfmError(f"{c.path} sets patch_size to {patch!r}; it must be the side of a square in pixels")
    scale = c.get("layer_scale_init_value", 1e-6) if response is None else 0
    spec = convnext.network(
        *lists.values(),
        patch=patch,
        scale=scale if scale and scale > 0 else None,
        response=response,
        classes=0,
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
    )
    spec["embed"]["channels"] = c.get("num_channels", 3)
    features = dict(features=stages_out(c), feature_norm=FEATURE_NORM) if is_backbone(c) else {}
    return spec | {"heads": {}} | features


def stages_out(c: Settings) -> tuple[str, ...]:
    """The stages whose features a backbone returns."""
    return backbones.stages_out(c, len(per_stage(c, "depths", DEPTHS)))


def names(c: Settings) -> Names:
    """The table of names."""
    return NAMES | (backbones.norm_names(stages_out(c)) if is_backbone(c) else {})


def pooled(c: Settings) -> dict:
    """The spec of the head that norms the mean over all positions."""
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-12))
    return dict(kind="vector", pool=dict(kind="normed", pool=dict(kind="mean"), norm=norm))


def label(c: Settings) -> dict:
    """The spec of the classification head."""
    return dict(kind="classification", classes=len(c.labels), pool=dict(kind="of_head", head="pooled"))


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: those of the embedding and of each stage."""
    return ("embed", *(f"stage_{i}" for i in range(len(per_stage(c, "depths", DEPTHS)))))


STAGE = "encoder.stages.{}."
LAYER = f"{STAGE}layers.{{}}."
NAMES = {
    "embed/stem/conv/kernel": kernel("embeddings.patch_embeddings"),
    "embed/stem/conv": "embeddings.patch_embeddings",
    "embed/stem/norm": "embeddings.layernorm",
    "stage/down/in_norm": f"{STAGE}downsampling_layer.0",
    "stage/down/conv/kernel": kernel(f"{STAGE}downsampling_layer.1"),
    "stage/down/conv": f"{STAGE}downsampling_layer.1",
    "stage/0/part/conv/kernel": kernel(f"{LAYER}dwconv", depthwise=7),
    "stage/0/part/conv": f"{LAYER}dwconv",
    "stage/0/part/norm": f"{LAYER}layernorm",
    "stage/0/part/up": f"{LAYER}pwconv1",
    "stage/0/part/down": f"{LAYER}pwconv2",
    "stage/0/skip/scale": f"{LAYER}layer_scale_parameter",
    "stage/0/part/response_norm/gain": At(f"{LAYER}grn.weight", axes=(3, 0, 1, 2)),  # of V2
    "stage/0/part/response_norm/bias": At(f"{LAYER}grn.bias", axes=(3, 0, 1, 2)),
}
KEYS = {
    "num_channels": "embed/channels",
    "patch_size": "embed/stem/stride",
    "num_stages": lambda spec: len(spec["stages"]),
    "depths": of_stages("repeats"),
    "hidden_sizes": widths,
    "hidden_act": "stages/0/pattern/0/activation",
    "layer_norm_eps": "heads/pooled/pool/norm/eps",
    "layer_scale_init_value": lambda spec: keys.at(spec, "residual/gate") if scaled(spec) else 0,
}


def scaled(spec) -> bool:
    """Whether the network has LayerScale."""
    return keys.at(spec, "residual/kind") == "scaled"


def has_feature_norms(spec) -> bool:
    """Whether the features are normed, as a backbone's are."""
    return spec["feature_norm"] is not None


FAMILY = Family(
    model_type="convnext",
    prefix="convnext.",
    network=network,
    keys=KEYS | backbones.class_of("ConvNextBackbone", has_feature_norms),
    classes="ConvNext",
    names=names,
    sublayers=1,
    heads={
        "pooled": Head("pooled", pooled, {"pool/norm": "layernorm"}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "classifier"}, needs=("pooled",)),
    },
    architectures={"Model": ("pooled",), "ForImageClassification": ("image_classification",), "Backbone": ()},
    files=Files(beside=backbones.BESIDE),
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
V2 = dataclasses.replace(
    FAMILY,
    model_type="convnextv2",
    prefix="convnextv2.",
    network=lambda c: network(c, RESPONSE),
    keys={key: row for key, row in KEYS.items() if key != "layer_scale_init_value"}
    | backbones.class_of("ConvNextV2Backbone", has_feature_norms),
    classes="ConvNextV2",
)
