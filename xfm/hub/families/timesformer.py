"""TimeSformer with each of its three attentions: divided space-time, joint space-time, and space only.

Bertasius, Wang, Torresani 2021. With the last, transformers returns a row for each frame, and so does xfm.
The oracles are transformers' TimesformerModel and TimesformerForVideoClassification. Their tokens run over time within
each place; those of xfm's networks run over places within each frame, and are put in the Hub's order in what a call
returns.
"""

import dataclasses
from typing import Any

from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.hub.families.vit import NAMES as VIT_NAMES
from xfm.hub.families.vit import biases, label, layers_of, sides
from xfm.hub.families.vivit import KEYS as VIVIT_KEYS
from xfm.hub.families.vivit import example, inputs
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.keys import at
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings


def network(c: Settings, kind: str = "divided_space_time") -> dict:
    """The spec of the network that config.json describes, without heads.  kind: of attention."""
    c.only("attention_type", kind)
    c.get("drop_path_rate")  # in training only
    bias = biases(c)
    patch, size = sides(c, "patch_size", 16), sides(c, "image_size", 224)
    grid = tuple(side // one for side, one in zip(size, patch, strict=True))
    if not all(grid):
        raise XfmError(f"{c.path} has an image_size of {size}, which is smaller than its patch_size of {patch}")
    spec = vit.network(
        **layers_of(c, eps=1e-6),
        patch=1,
        size=grid,
        classes=0,
    )
    attention, mlp = dict(spec["pattern"][0], bias=bias), spec["pattern"][1]
    divided = [
        dict(kind="along", axis="time", mixer=attention, out="linear"),
        dict(kind="along", axis="space", mixer=attention),
    ]
    spec["pattern"] = [*(divided if kind == "divided_space_time" else [attention]), mlp]
    frames = c.get("num_frames", 8) * (kind != "space_only")  # in the table of positions
    spec["embed"] = dict(
        kind="tubelets", width=c.get("hidden_size", 768), tubelet=(1, *patch), cls=1,
        position=dict(kind="space_time", size=grid, time=frames), channels=c.get("num_channels", 3),
    )  # fmt: skip
    return spec | {"heads": {}}


def by_frames(c: Settings, video) -> Batch:
    """The batch of these videos [B time height width C], of which each frame is a row of its own."""
    return dict(video=video.reshape(-1, 1, *video.shape[2:]))


def in_order(batch: Batch, out: dict[str, Any]) -> dict[str, Any]:
    """The outputs with the tokens in the Hub's order: of a class, then each place at all times."""

    def reordered(x):
        grid = x[:, 1:].reshape(x.shape[0], batch["video"].shape[1], -1, x.shape[-1])
        return x.at[:, 1:].set(grid.swapaxes(1, 2).reshape(x.shape[0], -1, x.shape[-1]))

    out = out | dict(hidden=reordered(out["hidden"]))
    if "hidden_states" in out:
        out["hidden_states"] = tuple(map(reordered, out["hidden_states"]))
    return out


def names(c: Settings, rows: Names | None = None) -> Names:
    """The table of names.  rows: those of the layers and the last norm, of divided attention if None."""
    width, projection = c.get("hidden_size", 768), "embeddings.patch_embeddings.projection"
    kernel = (*sides(c, "patch_size", 16), c.get("num_channels", 3), width)
    tokens = {
        "embed/cls": "embeddings.cls_token",
        "embed/position/space": "embeddings.position_embeddings",
        "embed/position/time": "embeddings.time_embeddings",
    }
    return {
        **(NAMES if rows is None else rows),
        **{key: At(name, axes=(0, 1, 2), sides=(1, -1, width)) for key, name in tokens.items()},
        "embed/patch/kernel": At(f"{projection}.weight", axes=(2, 3, 1, 0), sides=kernel),
        "embed/patch/bias": f"{projection}.bias",
    }


def attention(layer: int, before: str, inside: str = "mixer/") -> Names:
    """The rows of an attention, whose q, k and v are one tensor in the files.  inside: its path in the part."""
    fused = f"encoder.layer.{{}}.{before}attention.attention.qkv"
    rows = {
        f"layer/{layer}/part/{inside}{one}/{leaf}": At(f"{fused}.{name}", part=(i, 3))
        for i, one in enumerate("qkv")
        for leaf, name in (("kernel", "weight"), ("bias", "bias"))
    }
    return rows | {f"layer/{layer}/part/{inside}o": f"encoder.layer.{{}}.{before}attention.output.dense"}


NAMES = {
    **attention(0, "temporal_"),
    **attention(1, ""),
    "layer/0/in_norm": "encoder.layer.{}.temporal_layernorm",
    "layer/0/part/out": "encoder.layer.{}.temporal_dense",
    "layer/1/in_norm": VIT_NAMES["layer/0/in_norm"],
    **{key.replace("layer/1", "layer/2"): name for key, name in VIT_NAMES.items() if key.startswith("layer/1")},
    "norm": "layernorm",
}
UNDIVIDED = {**VIT_NAMES, **attention(0, "", inside="")}
KEYS = {
    **{key: path for key, path in VIVIT_KEYS.items() if not key.startswith(("pooler", "tubelet"))},
    "num_hidden_layers": "repeats",
    "num_attention_heads": "pattern/0/mixer/heads",
    "intermediate_size": "pattern/2/hidden",
    "hidden_act": "pattern/2/activation",
    "attention_probs_dropout_prob": "pattern/0/mixer/drop",
    "qkv_bias": lambda spec: False if at(spec, "pattern/0/mixer/bias") == ["o"] else None,
    "image_size": lambda spec: _side(spec, "embed/position/size", 0) * _side(spec, "embed/tubelet", 1),
    "num_frames": "embed/position/time",
    "patch_size": lambda spec: _side(spec, "embed/tubelet", 1),
}


def _side(spec: Any, path: str, index: int) -> int:
    sides = at(spec, path)
    return sides if isinstance(sides, int) else sides[index]


def undivided(kind: str, **calling: Any) -> Family:
    """The family with this attention, whose layers have two sublayers.  calling: fields that differ."""
    keys = {key: row if callable(row) else row.replace("/mixer", "").replace("/2/", "/1/") for key, row in KEYS.items()}
    keys |= {
        "attention_type": lambda spec: kind,
        "qkv_bias": lambda spec: False if at(spec, "pattern/0/bias") == ["o"] else None,
    }
    if kind == "space_only":
        del keys["num_frames"]  # of which such a network reads any number
    return dataclasses.replace(
        FAMILY,
        network=lambda c: network(c, kind),
        keys=keys,
        names=lambda c: names(c, UNDIVIDED),
        sublayers=2,
        files=Files(),
        calling=dataclasses.replace(FAMILY.calling, **calling),
    )


FAMILY = Family(
    model_type="timesformer",
    prefix="timesformer.",
    network=network,
    keys=KEYS,
    classes="Timesformer",
    names=names,
    sublayers=3,
    heads={"video_classification": Head("label", label(), {"out": "classifier"})},
    architectures={"Model": (), "ForVideoClassification": ("video_classification",)},
    calling=Calling(reads="video", inputs=inputs, example=example(8), outputs=in_order, last="layer"),
)
JOINT = undivided("joint_space_time")
SPACE = undivided("space_only", inputs=by_frames)
BY_ATTENTION = {("attention_type", "joint_space_time"): JOINT, ("attention_type", "space_only"): SPACE}
WHOLE = dataclasses.replace(FAMILY, files=Files(kin=BY_ATTENTION))
