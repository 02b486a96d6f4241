"""Swin: Liu et al. 2021.

The oracles are transformers' SwinModel with its heads and SwinBackbone, whose files these are. Images of any size are
read: their edges are filled with zeros as there, and absolute positions, where a checkpoint has them, are resized.
"""

from collections.abc import Mapping

from xfm.configs.vision import swin
from xfm.errors import XfmError
from xfm.fields import Count, fits, shown
from xfm.hub import buffers, keys
from xfm.hub.families import backbones
from xfm.hub.families.backbones import is_backbone
from xfm.hub.families.vit import PIXELS, drawn, example, inputs, masks, sides
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

IGNORED = {
    r".*\.relative_position_index": "xfm computes which row of the table an offset has",
    r"layernorm\.(weight|bias)": "a backbone returns the features of its stages, before the last norm",
}
HARMLESS = ("encoder_stride", *backbones.KEYS, "drop_path_rate")  # or of heads


def per_stage(c: Settings, key: str, default: tuple[int, ...]) -> list[int]:
    """The value of a key that lists a number for each stage. Raises XfmError for anything else."""
    value = c.get(key, default)
    if not isinstance(value, list | tuple) or not value or not all(fits(one, Count) for one in value):
        raise XfmError(f"{c.path} sets {key} to {shown(value)}; it must list a number of 1 or more for each stage")
    return list(value)


def depths_and_heads(c: Settings) -> tuple[list[int], list[int]]:
    """The number of layers and of heads of each stage. Raises XfmError where they are not of as many stages."""
    layers, heads = per_stage(c, "depths", (2, 2, 6, 2)), per_stage(c, "num_heads", (3, 6, 12, 24))
    if len(layers) != len(heads):
        raise XfmError(f"{c.path} has depths for {len(layers)} stages and num_heads for {len(heads)}; give both alike")
    return layers, heads


def widths(c: Settings, layers: list[int]) -> int:
    """The width of the first stage. Raises XfmError where config.json says other numbers of stages or widths."""
    width = c.get("embed_dim", 96)
    for key in HARMLESS:
        c.get(key)
    c.only("path_norm", True)
    c.only("hidden_size", width * 2 ** (len(layers) - 1))
    c.only("num_layers", len(layers))
    return width


def patch_of(c: Settings) -> int | tuple[int, int]:
    """The side of a patch, or its rows and columns where they differ."""
    rows, columns = sides(c, "patch_size", 4)
    return rows if rows == columns else (rows, columns)


def embedding(c: Settings, spec: Mapping) -> dict:
    """The spec of the embedding with what config.json says about it."""
    spec = dict(spec, channels=c.get("num_channels", 3), mask="token" if masks(c) else None)
    size, patch = sides(c, "image_size", 224), sides(c, "patch_size", 4)
    if c.get("use_absolute_embeddings", False):
        rows, columns = (side // one for side, one in zip(size, patch, strict=True))
        grid = rows if rows == columns else (rows, columns)
        spec |= dict(position=dict(kind="learned_grid", size=grid, first=0))
    return spec


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    layers, heads = depths_and_heads(c)
    spec = swin.network(
        layers,
        widths(c, layers),
        heads,
        patch=patch_of(c),
        window=c.get("window_size", 7),
        classes=0,
        hidden=c.get("mlp_ratio", 4.0),
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        eps=c.get("layer_norm_eps", 1e-5),
        bias=c.choose("qkv_bias", {True: True, False: ("o",)}, True),
    )
    spec["embed"] = embedding(c, spec["embed"])
    return spec | {"heads": {}} | (backbone(c, spec) if is_backbone(c) else {})


def stages_out(c: Settings) -> tuple[str, ...]:
    """The stages of the pyramid whose features a backbone returns."""
    return backbones.stages_out(c, len(per_stage(c, "depths", (2, 2, 6, 2))))


def backbone(c: Settings, spec: Mapping) -> dict:
    """What a backbone's network has in place of the encoder's own: a norm of each chosen stage, and none at the end.

    Its windows are always shifted and always of full size, with zeros around a small grid.
    """

    def unfitted(part: Mapping) -> dict:
        return dict(part, fit="never") if part["kind"] == "windowed" else dict(part)

    stages = [dict(stage, pattern=[unfitted(part) for part in stage["pattern"]]) for stage in spec["stages"]]
    return dict(stages=stages, features=stages_out(c), feature_norm=dict(kind="layernorm", eps=1e-5), norm=None)


def of_embedding(c: Settings) -> dict[str, At]:
    """The rows of the embedding's tensors whose shapes config.json describes."""
    width = c.get("embed_dim", 96)
    patch = (*sides(c, "patch_size", 4), c.get("num_channels", 3), width)
    found = {"embed/stem/patch/kernel": At(f"{PROJECTION}.weight", axes=(2, 3, 1, 0), sides=patch)}
    tokens = {"embed/position/table": "position_embeddings"} | ({"embed/mask": "mask_token"} if masks(c) else {})
    return found | {
        ours: At(f"embeddings.{name}", axes=(0, 1, 2), sides=(1, -1, width)) for ours, name in tokens.items()
    }


def names(c: Settings) -> Names:
    """The table of names of the files that config.json describes."""
    found = NAMES | of_embedding(c)
    if is_backbone(c):
        found |= backbones.norm_names(stages_out(c))
    return found


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: a stage of the Hub's ends with the merging that begins xfm's next stage.

    A backbone's are those before the merging.
    """
    last = len(per_stage(c, "depths", (2, 2, 6, 2))) - 1
    merged = [f"stage_{i}" if is_backbone(c) else f"stage_{i + 1}/down" for i in range(last)]
    return ("embed", *merged, f"stage_{last}")


def hidden_ratio(spec) -> float:
    """The width of the MLP as a multiple of the stream's."""
    return keys.at(spec, "stages/0/pattern/1/hidden") / spec["embed"]["width"]


def depths(spec) -> list[int]:
    """The number of layers of each stage."""
    return [len(stage["pattern"]) // 2 * stage.get("repeats", 1) for stage in spec["stages"]]


def image_size(spec) -> int | list[int] | None:
    """The size in pixels of the images for which the absolute positions are learned; None where there are none."""
    position, patch = spec["embed"]["position"], spec["embed"]["stem"]["patch"]
    if position["kind"] != "learned_grid":
        return None
    grid, patch = ((a, a) if isinstance(a, int) else a for a in (position["size"], patch))
    rows, columns = (n * p for n, p in zip(grid, patch, strict=True))
    return rows if rows == columns else [rows, columns]


PROJECTION = "embeddings.patch_embeddings.projection"
LAYER = "encoder.layers.{}.blocks.{}."
ATTENTION = f"{LAYER}attention.self."
NAMES = {
    "embed/stem/patch/bias": f"{PROJECTION}.bias",
    "embed/stem/out_norm": "embeddings.norm",
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
    **backbones.class_of("SwinBackbone", lambda spec: spec["feature_norm"]),
    "embed_dim": "embed/width",
    "patch_size": "embed/stem/patch",
    "num_channels": "embed/channels",
    "image_size": image_size,
    "use_absolute_embeddings": lambda spec: spec["embed"]["position"]["kind"] == "learned_grid",
    "depths": depths,
    "num_heads": lambda spec: [keys.at(stage, "pattern/0/mixer/heads") for stage in spec["stages"]],
    "window_size": "stages/0/pattern/0/window",
    "mlp_ratio": hidden_ratio,
    "qkv_bias": lambda spec: False if keys.at(spec, "stages/0/pattern/0/mixer/bias") == ["o"] else None,
    "hidden_act": "stages/0/pattern/1/activation",
    "layer_norm_eps": "norms/in/eps",
    "encoder_stride": "heads/pixels/stride",
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
        "masked_image_modeling": PIXELS,
    },
    architectures={
        "Model": ("pooled",),
        "ForImageClassification": ("image_classification",),
        "ForMaskedImageModeling": ("masked_image_modeling",),
        "Backbone": (),
    },
    files=Files(ignored=IGNORED, buffers={r".*\.relative_position_index": buffers.windows}, beside=backbones.BESIDE),
    calling=Calling(
        reads="images", inputs=inputs, example=example, more=("bool_masked_pos",), outputs=drawn, streams=streams
    ),
)
