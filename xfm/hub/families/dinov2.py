"""DINOv2, with registers and without: Oquab et al. 2023; Darcet et al. 2024.

The oracles are transformers' Dinov2Model and Dinov2WithRegistersModel with their heads, and their backbones, whose
files these are.
"""

import dataclasses

import numpy as np

from xfm.configs.vision import dinov2
from xfm.errors import XfmError
from xfm.fields import Count, fits, shown
from xfm.hub import keys
from xfm.hub.families import backbones, vit
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

# Fields of backbones, or of training, which do not change what the network returns.
APART = (*backbones.KEYS, *backbones.OF_STACKS, "drop_path_rate")


def network(c: Settings, registers: int = 0) -> dict:
    """The spec of the network that config.json describes, without heads."""
    for key in APART:
        c.get(key)
    width, ratio = c.get("hidden_size", 768), c.get("mlp_ratio", 4)
    hidden, gated = int(width * ratio), c.choose("use_swiglu_ffn", {True: True, False: False}, False)
    activation = c.choose("hidden_act", ACTIVATIONS, "gelu")  # of the plain feed-forward part alone
    spec = dinov2.network(
        c.get("num_hidden_layers", 12),
        width,
        c.get("num_attention_heads", 12),
        *vit.patch_and_size(c, 16 if registers else 14),
        classes=0,
        registers=registers,
        hidden=hidden,
        gated=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else None,
        gate=c.get("layerscale_value", 1.0),
        eps=c.get("layer_norm_eps", 1e-6),
    )
    spec["embed"] |= dict(channels=c.get("num_channels", 3), mask="token" if c.get("use_mask_token", True) else None)
    spec["pattern"][0]["bias"] = vit.biases(c)
    if not gated:
        spec["pattern"][1]["activation"] = activation
    return spec | {"heads": {}} | backbones.tapped(c, spec["repeats"])


def with_registers(c: Settings) -> dict:
    """The spec of a network with registers. Raises XfmError unless their number is 1 or more."""
    count = c.get("num_register_tokens", 4)
    if not fits(count, Count):
        raise XfmError(f"{c.path} sets num_register_tokens to {shown(count)}; it must be a number of 1 or more")
    return network(c, count)


def ratio(spec) -> int | float | None:
    """The value of mlp_ratio that gives the width of the feed-forward part; a gated one has two thirds, rounded up."""
    width, hidden = spec["embed"]["width"], keys.at(spec, "pattern/1/hidden")
    if not gated(spec):
        return hidden // width if hidden % width == 0 else hidden / width
    whole = (one for one in range(1, 17) if (int(width * one * 2 / 3) + 7) // 8 * 8 == hidden)
    return next(whole, 1.5 * hidden / width)


def gated(spec) -> bool:
    """Whether the feed-forward part is gated."""
    return keys.at(spec, "pattern/1/kind") == "glu"


FFN = f"{vit.LAYER}mlp."
NAMES = vit.NAMES | {
    "embed/mask": At("embeddings.mask_token", axes=(0, 1), sides=(1, -1)),
    "layer/0/in_norm": f"{vit.LAYER}norm1",
    "layer/0/skip/scale": f"{vit.LAYER}layer_scale1.lambda1",
    "layer/1/in_norm": f"{vit.LAYER}norm2",
    "layer/1/skip/scale": f"{vit.LAYER}layer_scale2.lambda1",
    "layer/mlp_1/part/up": f"{FFN}fc1",
    "layer/mlp_1/part/down": f"{FFN}fc2",
    "layer/glu_1/part/gate": At(f"{FFN}weights_in", part=(0, 2)),
    "layer/glu_1/part/up": At(f"{FFN}weights_in", part=(1, 2)),
    "layer/glu_1/part/down": f"{FFN}weights_out",
}


def no_mask(c: Settings) -> dict[str, np.ndarray]:
    """The mask token that transformers expects in files with registers, where the network has none."""
    zeros = np.zeros((1, c.get("hidden_size", 768)), np.float32)
    return {} if c.get("use_mask_token", True) else {"embeddings.mask_token": zeros}


REGISTERS = {"embed/registers": "embeddings.register_tokens"}
KEYS = {
    "hidden_size": "embed/width",
    "num_hidden_layers": keys.layers,
    "num_attention_heads": "pattern/0/heads",
    "mlp_ratio": ratio,
    "use_swiglu_ffn": gated,
    "hidden_act": lambda spec: None if gated(spec) else keys.HUB_ACTIVATIONS[keys.at(spec, "pattern/1/activation")],
    "layerscale_value": "residual/gate",
    "layer_norm_eps": "norm/eps",
    "image_size": vit.image_size,
    "patch_size": "embed/patch",
    "num_channels": "embed/channels",
    "qkv_bias": vit.KEYS["qkv_bias"],
    "use_mask_token": vit.masked,
}
POOLED = Head("pooled", lambda c: dict(kind="vector", pool=dict(kind="cls")), {}, of_encoder=True)


def label(c: Settings) -> dict:
    """The spec of the classification head, which reads the cls token and the mean of the patches."""
    return dict(kind="classification", classes=len(c.labels), pool=dict(kind="joined"))


FAMILY = Family(
    model_type="dinov2",
    prefix="dinov2.",
    network=network,
    keys=KEYS | backbones.class_of_stack("Dinov2Backbone"),
    classes="Dinov2",
    names=vit.names({"embed/cls": "embeddings.cls_token", **vit.POSITIONS}, NAMES),
    heads={"pooled": POOLED, "image_classification": Head("label", label, {"out": "classifier"})},
    architectures={"Model": ("pooled",), "ForImageClassification": ("image_classification",), "Backbone": ()},
    files=Files(ignored=vit.MASK_TOKEN),
    calling=Calling(reads="images", inputs=vit.inputs, example=vit.example, more=("bool_masked_pos",), last="layer"),
)
WITH_REGISTERS = dataclasses.replace(
    FAMILY,
    model_type="dinov2_with_registers",
    prefix="dinov2_with_registers.",
    network=with_registers,
    keys=KEYS | {"num_register_tokens": "embed/registers"} | backbones.class_of_stack("Dinov2WithRegistersBackbone"),
    files=dataclasses.replace(FAMILY.files, constants=no_mask),
    classes="Dinov2WithRegisters",
    names=vit.names({"embed/cls": "embeddings.cls_token", **REGISTERS, **vit.POSITIONS}, NAMES),
)
