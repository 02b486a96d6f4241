"""Swin: Liu et al. 2021.

The oracles are transformers' SwinModel and SwinForImageClassification, whose files these are.
"""

from xfm.configs.vision import swin
from xfm.errors import XfmError
from xfm.fields import Count, fits, shown
from xfm.hub import keys
from xfm.hub.families.vit import example, inputs, sides
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

INDEX = {r".*\.relative_position_index": "xfm computes which row of the table an offset has"}


def per_stage(c: Settings, key: str, default: tuple[int, ...]) -> list[int]:
    """The value of a key that lists a number for each stage. Raises XfmError for anything else."""
    value = c.get(key, default)
    if not isinstance(value, list | tuple) or not value or not all(fits(one, Count) for one in value):
        raise XfmError(f"{c.path} sets {key} to {shown(value)}; it must list a number of 1 or more for each stage")
    return list(value)


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.only("qkv_bias", True)
    c.only("use_absolute_embeddings", False)
    c.only("path_norm", True)
    layers, heads = per_stage(c, "depths", (2, 2, 6, 2)), per_stage(c, "num_heads", (3, 6, 12, 24))
    if len(layers) != len(heads):
        raise XfmError(f"{c.path} has depths for {len(layers)} stages and num_heads for {len(heads)}; give both alike")
    width = c.get("embed_dim", 96)
    for key in ("image_size", "encoder_stride", "out_features", "out_indices", "stage_names", "drop_path_rate"):
        c.get(key)  # they do not change the result, or are of heads, which may not be loaded
    c.only("hidden_size", width * 2 ** (len(layers) - 1))
    c.only("num_layers", len(layers))
    patch = sides(c, "patch_size", 4)
    spec = swin.network(
        layers,
        width,
        heads,
        patch=patch[0] if patch[0] == patch[1] else patch,
        window=c.get("window_size", 7),
        classes=0,
        hidden=c.get("mlp_ratio", 4.0),
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        eps=c.get("layer_norm_eps", 1e-5),
    )
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec | {"heads": {}}


def names(c: Settings) -> Names:
    """The table of names, with the shape of the patches' kernel that config.json describes."""
    patch = (*sides(c, "patch_size", 4), c.get("num_channels", 3), c.get("embed_dim", 96))
    return NAMES | {"embed/patch/kernel": At(f"{PROJECTION}.weight", axes=(2, 3, 1, 0), sides=patch)}


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: a stage of the Hub's ends with the merging that begins xfm's next stage."""
    last = len(per_stage(c, "depths", (2, 2, 6, 2))) - 1
    return ("embed", *(f"stage_{i}/down" for i in range(1, last + 1)), f"stage_{last}")


def hidden_ratio(spec) -> float:
    """The width of the MLP as a multiple of the stream's."""
    return keys.at(spec, "stages/0/pattern/1/hidden") / spec["embed"]["width"]


def depths(spec) -> list[int]:
    """The number of layers of each stage."""
    return [len(stage["pattern"]) // 2 * stage.get("repeats", 1) for stage in spec["stages"]]


PROJECTION = "embeddings.patch_embeddings.projection"
LAYER = "encoder.layers.{}.blocks.{}."
ATTENTION = f"{LAYER}attention.self."
NAMES = {
    "embed/patch/bias": f"{PROJECTION}.bias",
    "embed/norm": "embeddings.norm",
    "stage/down/norm": "encoder.layers.{before}.downsample.norm",
    "stage/down/out": "encoder.layers.{before}.downsample.reduction",
    "stage/0/in_norm": f"{LAYER}layernorm_before",
    "stage/0/part/mixer/q": f"{ATTENTION}query",
    "stage/0/part/mixer/k": f"{ATTENTION}key",
    "stage/0/part/mixer/v": f"{ATTENTION}value",
    "stage/0/part/mixer/position/table": At(f"{ATTENTION}relative_position_bias_table", axes=(0, 1), merged=2),
    "stage/0/part/mixer/o": f"{LAYER}attention.output.dense",
    "stage/1/in_norm": f"{LAYER}layernorm_after",
    "stage/1/part/up": f"{LAYER}intermediate.dense",
    "stage/1/part/down": f"{LAYER}output.dense",
    "norm": "layernorm",
}
KEYS = {
    "embed_dim": "embed/width",
    "patch_size": "embed/patch",
    "num_channels": "embed/channels",
    "depths": depths,
    "num_heads": lambda spec: [keys.at(stage, "pattern/0/mixer/heads") for stage in spec["stages"]],
    "window_size": "stages/0/pattern/0/window",
    "mlp_ratio": hidden_ratio,
    "hidden_act": "stages/0/pattern/1/activation",
    "layer_norm_eps": "norm/eps",
}


def label(c: Settings) -> dict:
    """The spec of the classification head."""
    return dict(kind="classification", classes=len(c.labels), pool=dict(kind="mean"))


FAMILY = Family(
    model_type="swin",
    prefix="swin.",
    network=network,
    keys=KEYS,
    classes="Swin",
    names=names,
    heads={
        "pooled": Head("pooled", lambda c: dict(kind="vector"), {}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "classifier"}),
    },
    architectures={"Model": ("pooled",), "ForImageClassification": ("image_classification",)},
    files=Files(ignored=INDEX),
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
