"""PVT v2: Wang et al. 2022, with the linear variant.

The oracles are transformers' PvtV2Model, PvtV2ForImageClassification and PvtV2Backbone, whose files these are.
"""

from xfm.configs.vision import pvt_v2
from xfm.errors import XfmError
from xfm.fields import Number, fits, shown
from xfm.hub import keys
from xfm.hub.families.backbones import class_of, is_backbone, stages_out
from xfm.hub.families.swin import label, per_stage
from xfm.hub.families.vit import example, inputs
from xfm.hub.family import Calling, Family, Head
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

UNREAD = ("image_size", "drop_path_rate", "out_features", "out_indices", "stage_names")


def ratios(c: Settings, key: str, default: tuple[float, ...]) -> list[float]:
    """The value of a key that lists a ratio for each stage. Raises XfmError for anything else."""
    value = c.get(key, default)
    if not isinstance(value, list | tuple) or not all(fits(one, Number) and one > 0 for one in value):
        raise XfmError(f"{c.path} sets {key} to {shown(value)}; it must list a number above 0 for each stage")
    return list(value)


def stages_of(c: Settings, count: str, **lists: list) -> int:
    """The number of stages that the key `count` names. Raises XfmError where one of the lists has another length."""
    stages = c.get(count, 4)
    for key, value in lists.items():
        if len(value) != stages:
            raise XfmError(f"{c.path} sets {count} to {shown(stages)} and {key} for {len(value)} stages; give one each")
    return stages


def network(c: Settings, mlp_ratios=(8, 8, 4, 4), eps: float | None = None) -> dict:
    """The spec of the network that config.json describes, without heads.

    mlp_ratios: where the file has none.  eps: of all norms, that of the file if None.
    """
    lists = dict(
        depths=per_stage(c, "depths", (2, 2, 2, 2)),
        hidden_sizes=per_stage(c, "hidden_sizes", (32, 64, 160, 256)),
        num_attention_heads=per_stage(c, "num_attention_heads", (1, 2, 5, 8)),
        mlp_ratios=ratios(c, "mlp_ratios", mlp_ratios),
        sr_ratios=per_stage(c, "sr_ratios", (8, 4, 2, 1)),
        patch_sizes=per_stage(c, "patch_sizes", (7, 3, 3, 3)),
        strides=per_stage(c, "strides", (4, 2, 2, 2)),
    )
    stages_of(c, "num_encoder_blocks", **lists)
    for key in UNREAD:  # they do not change the result
        c.get(key)
    eps = c.get("layer_norm_eps", 1e-6) if eps is None else eps
    spec = pvt_v2.network(
        lists["depths"],
        lists["hidden_sizes"],
        lists["num_attention_heads"],
        [int(width * ratio) for width, ratio in zip(lists["hidden_sizes"], lists["mlp_ratios"], strict=True)],
        "linear" if c.get("linear_attention", False) else lists["sr_ratios"],
        patches=list(zip(lists["patch_sizes"], lists["strides"], strict=True)),
        classes=0,
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        eps=eps,
        inner_eps=eps,
    )
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec | {"heads": {}}


def whole(c: Settings) -> dict:
    """`network`, for keys of which the files have one value only."""
    c.only("qkv_bias", True)
    spec = network(c)
    return spec | (dict(features=stages_out(c, len(spec["stages"]), stem=None)) if is_backbone(c) else {})


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states, which are the stages'."""
    return tuple(f"stage_{i}" for i in range(len(per_stage(c, "depths", (2, 2, 2, 2)))))


def of_stages(path: str):
    """A row for a key that lists a value for each stage, at this path below the stage."""
    return lambda spec: [keys.at(stage, path) for stage in spec["stages"]]


def widths(spec) -> list[int]:
    """The width of each stage."""
    return [spec["embed"]["width"], *(stage["down"]["width"] for stage in spec["stages"][1:])]


def patches(field: str):
    """A row for the size or the stride of each stage's patches."""
    return lambda spec: [part[field] for part in (spec["embed"]["stem"], *(s["down"] for s in spec["stages"][1:]))]


def heads(spec) -> list[int]:
    """The number of heads of each stage."""
    mixers = [stage["pattern"][0] for stage in spec["stages"]]
    return [mixer.get("mixer", mixer)["heads"] for mixer in mixers]


def reductions(spec) -> list[int]:
    """The side of the tile that a key of each stage is made of; 1 where each token is a key, or their number fixed."""
    downs = [stage["pattern"][0].get("down", {}) for stage in spec["stages"]]
    return [down.get("stride", 1) for down in downs]


def mlp_ratios(spec) -> list[float]:
    """The width of each stage's MLP as a multiple of the stream's."""
    found = [stage["pattern"][1]["hidden"] / width for stage, width in zip(spec["stages"], widths(spec), strict=True)]
    return [int(ratio) if ratio == int(ratio) else ratio for ratio in found]


def linear(spec) -> bool:
    """Whether keys are pooled to a fixed number."""
    return keys.at(spec, "stages/0/pattern/0/down/kind") == "pool_to"


def kernel(name: str, *, depthwise: int = 0) -> At:
    """The row of a convolution's kernel.  depthwise: its rows and columns, if it is one of each channel."""
    sides = (depthwise, depthwise, 1, -1) if depthwise else None
    return At(f"{name}.weight", axes=(2, 3, 1, 0), sides=sides)


def pointwise(name: str) -> At:
    """The row of the kernel of a linear map that the file has as a convolution of single positions."""
    return At(f"{name}.weight", axes=(1, 0, 2, 3))


STAGE = "encoder.layers.{}."
LAYER = f"{STAGE}blocks.{{}}."
FIRST = "encoder.layers.0.patch_embedding."
NAMES = {
    "embed/stem/conv/kernel": kernel(f"{FIRST}proj"),
    "embed/stem/conv": f"{FIRST}proj",
    "embed/stem/norm": f"{FIRST}layer_norm",
    "stage/down/conv/kernel": kernel(f"{STAGE}patch_embedding.proj"),
    "stage/down/conv": f"{STAGE}patch_embedding.proj",
    "stage/down/out_norm": f"{STAGE}patch_embedding.layer_norm",
    "stage/norm": f"{STAGE}layer_norm",
    "stage/0/in_norm": f"{LAYER}layer_norm_1",
    **{
        f"stage/0/part/{inside}{ours}": f"{LAYER}attention.{name}"
        for inside in ("", "mixer/")
        for ours, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "proj"))
    },
    "stage/0/part/down/conv/kernel": kernel(f"{LAYER}attention.spatial_reduction"),
    "stage/0/part/down/conv": f"{LAYER}attention.spatial_reduction",
    "stage/0/part/down/out_norm": f"{LAYER}attention.layer_norm",
    "stage/0/part/down/out/kernel": pointwise(f"{LAYER}attention.spatial_reduction"),  # of the linear variant
    "stage/0/part/down/out": f"{LAYER}attention.spatial_reduction",
    "stage/0/part/down/norm": f"{LAYER}attention.layer_norm",
    "stage/1/in_norm": f"{LAYER}layer_norm_2",
    "stage/1/part/up": f"{LAYER}mlp.dense1",
    "stage/1/part/conv/kernel": kernel(f"{LAYER}mlp.dwconv.dwconv", depthwise=3),
    "stage/1/part/conv": f"{LAYER}mlp.dwconv.dwconv",
    "stage/1/part/down": f"{LAYER}mlp.dense2",
}
# The keys of pyramids whose config.json lists a value for each stage.
STAGES = {
    "num_channels": "embed/channels",
    "num_encoder_blocks": lambda spec: len(spec["stages"]),
    "depths": of_stages("repeats"),
    "hidden_sizes": widths,
    "patch_sizes": patches("size"),
    "strides": patches("stride"),
}
KEYS = STAGES | {
    "num_attention_heads": heads,
    "sr_ratios": reductions,
    "mlp_ratios": mlp_ratios,
    "hidden_act": "stages/0/pattern/1/activation",
    "layer_norm_eps": "stages/0/norm/eps",
    "linear_attention": linear,
    **class_of("PvtV2Backbone", lambda spec: spec["features"] is not None),
}
FAMILY = Family(
    model_type="pvt_v2",
    prefix="pvt_v2.",
    network=whole,
    keys=KEYS,
    classes="PvtV2",
    names=NAMES,
    heads={"image_classification": Head("label", label, {"out": "classifier"})},
    architectures={"Model": (), "ForImageClassification": ("image_classification",), "Backbone": ()},
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
