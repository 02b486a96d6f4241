"""Swin Transformer V2: Liu et al. 2022.

The oracles are transformers' Swinv2Model with its heads and Swinv2Backbone, whose files these are. The windows are
those that fit into images of config.json's size; others are cut into the same windows, with zeros at their edges.
"""

import dataclasses
from collections.abc import Mapping

from xfm.configs.vision import swinv2
from xfm.hub import buffers, keys
from xfm.hub.families import backbones, swin
from xfm.hub.families.vit import sides
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

INDEX = "xfm computes the offsets and which of them belong to two tokens"


def pretrained(c: Settings, stages: int) -> list[int]:
    """The side of the windows for which the bias of each stage was trained, 0 for that of its own windows."""
    given = c.get("pretrained_window_sizes", [0] * stages)
    return [0] * stages if not any(given) else swin.per_stage(c, "pretrained_window_sizes", (0,))


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    layers, heads = swin.depths_and_heads(c)
    width = swin.widths(c, layers)
    c.only("use_absolute_embeddings", False)  # with them transformers' model reads no image
    spec = swinv2.network(
        layers,
        width,
        heads,
        patch=swin.patch_of(c),
        window=c.get("window_size", 7),
        grid=sides(c, "image_size", 224)[0] // sides(c, "patch_size", 4)[0],
        classes=0,
        pretrained=pretrained(c, len(layers)),
        hidden=c.get("mlp_ratio", 4.0),
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        eps=c.get("layer_norm_eps", 1e-5),
        bias=c.choose("qkv_bias", {True: ("q", "v", "o"), False: ("o",)}, True),
    )
    spec["embed"] = swin.embedding(c, spec["embed"])
    return spec | {"heads": {}} | (dict(features=swin.stages_out(c), norm=None) if backbones.is_backbone(c) else {})


def names(c: Settings) -> Names:
    """The table of names of the files that config.json describes."""
    return NAMES | swin.of_embedding(c)


def window(spec: Mapping) -> int:
    """The side of the windows in stages whose grid is large enough for them."""
    return max(keys.at(stage, "pattern/0/window") for stage in spec["stages"])


def image_size(spec: Mapping) -> int | None:
    """The smallest size in pixels of images to which these windows belong; None if there is none."""
    wanted, largest = [], window(spec)
    for stage in spec["stages"]:
        parts = [one.get("part", one) for one in stage["pattern"]]
        windowed = [one for one in parts if one["kind"] == "windowed"]
        wanted.append((windowed[0]["window"], windowed[1]["shift"] > 0 if len(windowed) > 1 else None))
    rows = spec["embed"]["stem"]["patch"]
    rows = rows if isinstance(rows, int) else rows[0]

    def fits(grid: int) -> bool:
        sides = [grid // 2**i for i in range(len(wanted))]
        made = [(min(side, largest), side > largest) for side in sides]
        return all(a[0] == b[0] and a[1] in (None, b[1]) for a, b in zip(wanted, made, strict=True))

    return next((rows * grid for grid in range(1, (largest + 1) * 2 ** len(wanted)) if fits(grid)), None)


def pretrained_windows(spec: Mapping) -> list[int] | None:
    """The windows for which the biases were trained, where these are others than the stages' own."""
    found = [keys.at(stage, "pattern/0/mixer/position/reach") or 0 for stage in spec["stages"]]
    return found if any(found) else None


ATTENTION = f"{swin.LAYER}attention.self."
BIAS = f"{ATTENTION}continuous_position_bias_mlp."
NAMES = {
    **{path: name for path, name in swin.NAMES.items() if not path.startswith(("stage/0/part/mixer/pos", "stage/d"))},
    "stage/down/out": "encoder.layers.{before}.downsample.reduction",
    "stage/down/out_norm": "encoder.layers.{before}.downsample.norm",
    "stage/0/residual_norm": f"{swin.LAYER}layernorm_before",
    "stage/1/residual_norm": f"{swin.LAYER}layernorm_after",
    "stage/0/part/mixer/logit_scale": At(f"{ATTENTION}logit_scale", axes=(0, 1, 2), sides=(-1, 1, 1)),
    "stage/0/part/mixer/position/up": f"{BIAS}0",
    "stage/0/part/mixer/position/down": f"{BIAS}2",
}
KEYS = swin.KEYS | {
    **backbones.class_of("Swinv2Backbone", lambda spec: spec["norm"] is None),
    "image_size": image_size,
    "use_absolute_embeddings": lambda spec: False,
    "window_size": window,
    "pretrained_window_sizes": pretrained_windows,
    "layer_norm_eps": "norms/residual/eps",
}
FAMILY = dataclasses.replace(
    swin.FAMILY,
    model_type="swinv2",
    prefix="swinv2.",
    network=network,
    names=names,
    keys=KEYS,
    classes="Swinv2",
    files=dataclasses.replace(
        swin.FAMILY.files,
        ignored={r".*\.(relative_position_index|relative_coords_table)": INDEX},
        buffers=swin.FAMILY.files.buffers | {r".*\.relative_coords_table": buffers.coordinates},
    ),
)
