"""ViViT and VideoMAE, encoders of all tubelets of a video at once: Arnab et al. 2021; Tong et al. 2022.

The oracles are transformers' VivitModel and VideoMAEModel with their heads for classification. Both read videos of one
size only; here ViViT's positions are resized for others.
"""

import dataclasses

import numpy as np

from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.fields import Count, fits
from xfm.hub.families.vit import KEYS as VIT_KEYS
from xfm.hub.families.vit import NAMES, POOLED, label, layers_of, sides
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.keys import at
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

KEPT_OF_VIT = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
               "hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps")  # fmt: skip

OF_HEADS = ("pooler_output_size", "pooler_act", "use_mean_pooling", "norm_pix_loss")


def tubelet_of_vivit(c: Settings) -> tuple[int, int, int]:
    """Frames, rows and columns of a tubelet. Raises XfmError for another value than three sizes."""
    value = c.get("tubelet_size", [2, 16, 16])
    if not isinstance(value, list | tuple) or len(value) != 3 or not all(fits(one, Count) for one in value):
        raise XfmError(f"{c.path} sets tubelet_size to {value!r}; it must be frames, rows and columns")
    return tuple(value)


def tubelet_of_videomae(c: Settings) -> tuple[int, int, int]:
    """Frames, rows and columns of a tubelet."""
    return (c.get("tubelet_size", 2), *sides(c, "patch_size", 16))


def network(c: Settings, tubelet: tuple[int, int, int], frames: int, cls: int, activation: str, eps: float) -> dict:
    """The spec of the network that config.json describes, without heads.

    tubelet: as the file says.  cls: the number of class tokens; without one the positions are fixed sines.
    frames, activation, eps: the defaults of keys that config.json does not have.
    """
    biased, with_bias = ("qkv_bias", True) if cls else (("qv_bias", "qkv_bias"), ("q", "v", "o"))
    for key in (*OF_HEADS, *(one for one in c.content if one.startswith("decoder_"))):
        c.get(key)  # of heads, which may not be loaded
    size = (c.get("num_frames", frames), *sides(c, "image_size", 224))
    grid = tuple(side // one for side, one in zip(size, tubelet, strict=True))
    if not all(grid):
        raise XfmError(f"{c.path} describes videos of {size}, which is smaller than a tubelet of {tubelet}")
    spec = vit.network(
        **layers_of(c, activation, eps),
        patch=1,
        size=grid[1:],
        cls=cls,
        classes=0,
    )
    spec["pattern"][0]["bias"] = c.choose(biased, {True: with_bias, False: ("o",)}, True)
    if not cls and c.get("use_mean_pooling", True):
        spec["norm"] = None
    position = dict(kind="learned_video", size=grid, first=1) if cls else SINES
    spec["embed"] = dict(
        kind="tubelets", width=c.get("hidden_size", 768), tubelet=tubelet, cls=cls, position=position,
        channels=c.get("num_channels", 3),
    )  # fmt: skip
    return spec | {"heads": {}}


SINES = dict(kind="sinusoidal", channels="interleaved")


def inputs(c: Settings, video) -> Batch:
    """The batch of these videos [B time height width C]."""
    return dict(video=video)


def of_one_size(c: Settings, video) -> Batch:
    """The batch of these videos. Raises XfmError for another size than that of the fixed positions."""
    size = (c.get("num_frames", 16), *sides(c, "image_size", 224))
    if video.shape[1:4] != size:
        raise XfmError(
            f"the positions of this videomae are of videos {size} (time, height, width); these are {video.shape[1:4]}"
        )
    return dict(video=video)


def example(frames: int):
    """From config.json to a black video of the size that it names.  frames: the default of their number."""

    def of(c: Settings) -> Batch:
        shape = (1, c.get("num_frames", frames), *sides(c, "image_size", 224), c.get("num_channels", 3))
        return dict(video=np.zeros(shape, np.float32))

    return of


def names(tubelet, first: Names, layer: Names):
    """From config.json to the table of names.

    tubelet: from config.json to its sides.  first: names of the tensors [1 tokens D] of the embedding.  layer: rows
    that only one of the two families has.
    """

    def of(c: Settings) -> Names:
        width, projection = c.get("hidden_size", 768), "embeddings.patch_embeddings.projection"
        kernel = (*tubelet(c), c.get("num_channels", 3), width)
        tokens = {key: At(name, axes=(0, 1, 2), sides=(1, -1, width)) for key, name in first.items()}
        return {**NAMES, **layer, **tokens} | {
            "embed/patch/kernel": At(f"{projection}.weight", axes=(2, 3, 4, 1, 0), sides=kernel),
            "embed/patch/bias": f"{projection}.bias",
        }

    return of


def mean_or_class(c: Settings) -> dict:
    """The spec of VideoMAE's classification head, of the normed mean of all tokens or of the first one."""
    normed = dict(kind="normed", pool=dict(kind="mean"), norm=dict(kind="layernorm", eps=1e-5))
    pool = c.choose("use_mean_pooling", {True: normed, False: dict(kind="cls")}, True)
    return dict(kind="classification", classes=len(c.labels), pool=pool)


def video_size(spec) -> int | list[int]:
    """Rows and columns of the videos for which the positions are learned, one number for a square."""
    grid, tubelet = at(spec, "embed/position/size"), at(spec, "embed/tubelet")
    rows, columns = (n * p for n, p in zip(grid[1:], tubelet[1:], strict=True))
    return rows if rows == columns else [rows, columns]


KEYS = {
    **{key: path for key, path in VIT_KEYS.items() if key in KEPT_OF_VIT or key.startswith("pooler")},
    "qkv_bias": VIT_KEYS["qkv_bias"],
    "image_size": video_size,
    "num_frames": lambda spec: at(spec, "embed/position/size")[0] * at(spec, "embed/tubelet")[0],
    "tubelet_size": "embed/tubelet",
    "num_channels": "embed/channels",
}
BIASES = {f"layer/0/part/{one}/bias": f"encoder.layer.{{}}.attention.attention.{one}_bias" for one in "qv"}

VIVIT = Family(
    model_type="vivit",
    prefix="vivit.",
    network=lambda c: network(c, tubelet_of_vivit(c), 32, 1, "gelu_fast", 1e-6),
    keys=KEYS,
    classes="Vivit",
    names=names(
        tubelet_of_vivit,
        {"embed/cls": "embeddings.cls_token", "embed/position/table": "embeddings.position_embeddings"},
        {},
    ),
    heads={
        "pooled": POOLED,
        "video_classification": Head("label", label(), {"out": "classifier"}),
    },
    architectures={"Model": ("pooled",), "ForVideoClassification": ("video_classification",)},
    calling=Calling(reads="video", inputs=inputs, example=example(32), last="layer"),
)
VIDEOMAE = dataclasses.replace(
    VIVIT,
    model_type="videomae",
    prefix="videomae.",
    network=lambda c: network(c, tubelet_of_videomae(c), 16, 0, "gelu", 1e-12),
    keys={},
    classes="VideoMAE",
    names=names(tubelet_of_videomae, {}, BIASES),
    heads={
        "video_classification": Head("label", mean_or_class, {"pool/norm": "fc_norm", "out": "classifier"}),
    },
    architectures={"Model": (), "ForVideoClassification": ("video_classification",)},
    files=Files(),
    calling=Calling(reads="video", inputs=of_one_size, example=example(16), last="layer"),
)
