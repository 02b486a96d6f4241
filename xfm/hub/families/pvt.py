"""PVT: Wang et al. 2021.

The oracles are transformers' PvtModel and PvtForImageClassification, whose files these are. In config.json `strides`
are the sizes of the convolutions before the stages, and `patch_sizes` their strides. transformers reads images of the
size `image_size` alone; here positions are resized for others.
"""

from xfm.configs.vision import pvt
from xfm.errors import XfmError
from xfm.hub import keys
from xfm.hub.families import pvt_v2, vit
from xfm.hub.families.pvt_v2 import kernel, of_stages, stages_of
from xfm.hub.families.swin import per_stage
from xfm.hub.family import Calling, Family, Head
from xfm.hub.naming import At
from xfm.hub.settings import ACTIVATIONS, Settings

UNREAD = ("drop_path_rate",)
LISTS = {"depths": (2, 2, 2, 2), "hidden_sizes": (64, 128, 320, 512), "num_attention_heads": (1, 2, 5, 8),
         "sequence_reduction_ratios": (8, 4, 2, 1), "patch_sizes": (4, 2, 2, 2), "strides": (4, 2, 2, 2)}  # fmt: skip


def sides(c: Settings, patches: list[int]) -> list[int]:
    """Rows and columns of each stage's positions, as transformers counts them: every stage halves, the first quarters.

    Raises XfmError for an image that is not square, or too small for these stages.
    """
    rows, columns = vit.sides(c, "image_size", 224)
    found = [rows // (2 ** (i + 1) if i else 1) // patch for i, patch in enumerate(patches)]
    if rows != columns or min(found) < 1:
        raise XfmError(
            f"{c.path} sets image_size to {rows} x {columns} and patch_sizes to {patches}; it must be a square, of at "
            "least one patch in each stage"
        )
    return found


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    lists = {key: per_stage(c, key, default) for key, default in LISTS.items()}
    ratios = pvt_v2.ratios(c, "mlp_ratios", pvt.RATIOS)
    stages_of(c, "num_encoder_blocks", **lists, mlp_ratios=ratios)
    for key in UNREAD:
        c.get(key)
    spec = pvt.network(
        lists["depths"],
        lists["hidden_sizes"],
        lists["num_attention_heads"],
        [int(width * ratio) for width, ratio in zip(lists["hidden_sizes"], ratios, strict=True)],
        lists["sequence_reduction_ratios"],
        list(zip(lists["strides"], lists["patch_sizes"], strict=True)),
        sides(c, lists["patch_sizes"]),
        classes=0,
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
        eps=c.get("layer_norm_eps", 1e-6),
    )
    bias = vit.biases(c)
    for stage in spec["stages"]:
        mixer = stage["pattern"][0]
        mixer.get("mixer", mixer)["bias"] = bias
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec | {"heads": {}}


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: of all layers of each stage, and of the last norm."""
    return (*(f"stage_{i}/layers/mlp_1" for i in range(len(per_stage(c, "depths", LISTS["depths"])))), "norm")


def patches(field: str):
    """A row for the size or the stride of each stage's patches."""
    return lambda spec: [
        part[field] for part in (spec["embed"]["stem"], *(s["down"]["down"] for s in spec["stages"][1:]))
    ]


def widths(spec) -> list[int]:
    """The width of each stage."""
    return [spec["embed"]["width"], *(stage["down"]["down"]["width"] for stage in spec["stages"][1:])]


def mlp_ratios(spec) -> list[float]:
    """The width of each stage's MLP as a multiple of the stream's."""
    found = [stage["pattern"][1]["hidden"] / width for stage, width in zip(spec["stages"], widths(spec), strict=True)]
    return [int(ratio) if ratio == int(ratio) else ratio for ratio in found]


def image_size(spec) -> int:
    """The side of the smallest image that has the first stage's positions."""
    return spec["embed"]["position"]["size"] * patches("stride")(spec)[0]


def biases(spec) -> bool:
    """Whether queries, keys and values have a bias."""
    mixer = spec["stages"][0]["pattern"][0]
    return mixer.get("mixer", mixer)["bias"] is True


PATCHES, LAYER = "encoder.patch_embeddings.{}.", "encoder.block.{}.{}."
FIRST = PATCHES.format(0)


def table(name: str) -> At:
    """The row of a table of positions, which the file has with an axis of length 1 before it."""
    return At(f"{name}position_embeddings", axes=(1, 2, 0))


NAMES = {
    "embed/stem/conv/kernel": kernel(f"{FIRST}projection"),
    "embed/stem/conv": f"{FIRST}projection",
    "embed/stem/norm": f"{FIRST}layer_norm",
    "embed/position/table": table(FIRST),
    "embed/cls": f"{FIRST}cls_token",
    "stage/down/down/conv/kernel": kernel(f"{PATCHES}projection"),
    "stage/down/down/conv": f"{PATCHES}projection",
    "stage/down/down/out_norm": f"{PATCHES}layer_norm",
    "stage/down/position/table": table(PATCHES),
    "stage/down/cls": f"{PATCHES}cls_token",
    "stage/0/in_norm": f"{LAYER}layer_norm_1",
    **{
        f"stage/0/part/{inside}{ours}": f"{LAYER}attention.{name}"
        for inside in ("", "mixer/")
        for ours, name in (("q", "self.query"), ("k", "self.key"), ("v", "self.value"), ("o", "output.dense"))
    },
    "stage/0/part/down/conv/kernel": kernel(f"{LAYER}attention.self.sequence_reduction"),
    "stage/0/part/down/conv": f"{LAYER}attention.self.sequence_reduction",
    "stage/0/part/down/out_norm": f"{LAYER}attention.self.layer_norm",
    "stage/1/in_norm": f"{LAYER}layer_norm_2",
    "stage/1/part/up": f"{LAYER}mlp.dense1",
    "stage/1/part/down": f"{LAYER}mlp.dense2",
    "norm": "encoder.layer_norm",
}
KEYS: keys.Keys = {
    "image_size": image_size,
    "num_channels": "embed/channels",
    "num_encoder_blocks": lambda spec: len(spec["stages"]),
    "depths": of_stages("repeats"),
    "hidden_sizes": widths,
    "patch_sizes": patches("stride"),
    "strides": patches("size"),
    "num_attention_heads": pvt_v2.heads,
    "sequence_reduction_ratios": pvt_v2.reductions,
    "mlp_ratios": mlp_ratios,
    "hidden_act": "stages/0/pattern/1/activation",
    "layer_norm_eps": "norm/eps",
    "qkv_bias": biases,
}
FAMILY = Family(
    model_type="pvt",
    prefix="pvt.",
    network=network,
    keys=KEYS,
    classes="Pvt",
    names=NAMES,
    heads={"image_classification": Head("label", vit.label(), {"out": "classifier"})},
    architectures={"Model": (), "ForImageClassification": ("image_classification",)},
    calling=Calling(reads="images", inputs=vit.inputs, example=vit.example, streams=streams),
)
