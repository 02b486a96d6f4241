"""DINOv3's ConvNeXts: Siméoni et al. 2025.

The oracles are transformers' DINOv3ConvNextModel and DINOv3ConvNextBackbone, whose files these are. The model's tokens
are the mean of the last map, in the place of a class token, and the positions of the map, all by the last norm; its
first hidden state is the image itself. Without the head "pooled", which is the only one, the tokens are the last map's
without a norm.
"""

from xfm.configs.vision import convnext
from xfm.errors import XfmError
from xfm.fields import Number, fits, shown
from xfm.hub import keys
from xfm.hub.families.backbones import class_of, is_backbone, stages_out
from xfm.hub.families.convnext import DEPTHS, WIDTHS, scaled, streams
from xfm.hub.families.pvt_v2 import UNREAD, kernel, of_stages, widths
from xfm.hub.families.swin import per_stage
from xfm.hub.families.vit import example, inputs
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.settings import ACTIVATIONS, Settings

PATCH = 4  # pixels, in every file


def eps(c: Settings) -> float:
    """Of all norms."""
    return c.get("layer_norm_eps", 1e-6)


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without its last norm."""
    layers, width = per_stage(c, "depths", DEPTHS), per_stage(c, "hidden_sizes", WIDTHS)
    if len(layers) != len(width):
        raise XfmError(f"{c.path} has depths for {len(layers)} stages and hidden_sizes for {len(width)}; give one each")
    for key in UNREAD:  # they do not change the result
        c.get(key)
    scale = c.get("layer_scale_init_value", 1e-6)
    if not fits(scale, Number):
        raise XfmError(f"{c.path} sets layer_scale_init_value to {shown(scale)}; it must be a number, 1e-6 as a rule")
    activation = c.choose("hidden_act", ACTIVATIONS, "gelu")
    spec = convnext.network(layers, width, PATCH, scale, classes=0, activation=activation, inner_eps=eps(c))
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec | {"heads": {}} | (dict(features=stages_out(c, len(layers))) if is_backbone(c) else {})


def tokens(c: Settings) -> dict:
    """The spec of the head that norms the mean and the tokens."""
    return dict(kind="mean_and_tokens", norm=dict(kind="layernorm", eps=eps(c)))


def outputs(batch: Batch, out: dict) -> dict:
    """With the normed tokens as the hidden ones, their first one as the pooled vector, and the image as a state."""
    if "hidden_states" in out:
        out = out | dict(hidden_states=(batch["images"], *out["hidden_states"]))
    return out | (dict(hidden=out["tokens"], tokens={"pooled": out["tokens"][:, 0]}) if "tokens" in out else {})


LAYER = "stages.{}.layers.{}."
DOWN = "stages.{}.downsample_layers."
FIRST = "stages.0.downsample_layers."
NAMES = {
    "embed/stem/conv/kernel": kernel(f"{FIRST}0"),
    "embed/stem/conv": f"{FIRST}0",
    "embed/stem/norm": f"{FIRST}1",
    "stage/down/in_norm": f"{DOWN}0",
    "stage/down/conv/kernel": kernel(f"{DOWN}1"),
    "stage/down/conv": f"{DOWN}1",
    "stage/0/part/conv/kernel": kernel(f"{LAYER}depthwise_conv", depthwise=7),
    "stage/0/part/conv": f"{LAYER}depthwise_conv",
    "stage/0/part/norm": f"{LAYER}layer_norm",
    "stage/0/part/up": f"{LAYER}pointwise_conv1",
    "stage/0/part/down": f"{LAYER}pointwise_conv2",
    "stage/0/skip/scale": f"{LAYER}gamma",
}
FAMILY = Family(
    model_type="dinov3_convnext",
    network=network,
    keys={
        "num_channels": "embed/channels",
        "depths": of_stages("repeats"),
        "hidden_sizes": widths,
        "hidden_act": "stages/0/pattern/0/activation",
        "layer_norm_eps": "embed/stem/norm/eps",
        "layer_scale_init_value": lambda spec: keys.at(spec, "residual/gate") if scaled(spec) else None,
        **class_of("DINOv3ConvNextBackbone", lambda spec: spec["features"] is not None),
    },
    classes="DINOv3ConvNext",
    names=NAMES,
    sublayers=1,
    heads={"pooled": Head("tokens", tokens, {"norm": "layer_norm"})},
    architectures={"Model": ("pooled",), "Backbone": ()},
    files=Files(renames=((r"^model\.stages\.", "stages."),)),
    calling=Calling(reads="images", inputs=inputs, example=example, outputs=outputs, streams=lambda c: streams(c)[1:]),
)
