"""LeViT: Graham et al. 2021.

The oracles are transformers' LevitModel, LevitForImageClassification and LevitForImageClassificationWithTeacher, whose
files these are. transformers counts the layer between two stages to the finer one; its output is the hidden state.
"""

from xfm.configs.vision import levit
from xfm.errors import XfmError
from xfm.fields import Count, fits, shown
from xfm.hub.families.pvt_v2 import kernel
from xfm.hub.families.swin import per_stage
from xfm.hub.families.vit import example, inputs, mean_of_two
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import Settings

CONVOLUTIONS = 4  # of the stem
PER_STAGE = {"hidden_sizes": (128, 256, 384), "num_attention_heads": (4, 8, 12), "depths": (4, 4, 4),
             "key_dim": (16, 16, 16), "mlp_ratio": (2, 2, 2), "attention_ratio": (2, 2, 2)}  # fmt: skip


def sizes(c: Settings) -> dict[str, list[int]]:
    """The values of each stage. Raises XfmError unless there are equally many."""
    found = {key: per_stage(c, key, default) for key, default in PER_STAGE.items()}
    if len(set(map(len, found.values()))) != 1:
        raise XfmError(f"{c.path} has {', '.join(f'{len(v)} {k}' for k, v in found.items())}; give one for each stage")
    return found


def between(c: Settings) -> list[tuple[int, int, int, int, int]]:
    """Width of keys, heads, ratio of values to keys, ratio of the MLP, and stride of the layer after each stage.

    Raises XfmError for other layers between stages.
    """
    own = sizes(c)
    width, key = own["hidden_sizes"], own["key_dim"][0]
    usual = [["Subsample", key, one // key, 4, 2, 2] for one in width[:-1]]
    given = [op for op in c.get("down_ops", usual) if op != [""]]
    if len(given) != len(width) - 1 or not all(
        isinstance(op, list | tuple) and len(op) == 6 and op[0] == "Subsample" and fits(list(op[1:]), list[Count])
        for op in given
    ):
        raise XfmError(f"{c.path} sets down_ops to {shown(given)}; each of {len(width) - 1} is like {usual[0]}")
    return [tuple(op[1:]) for op in given]


def grid(c: Settings) -> int:
    """The side of the first stage's grid. Raises XfmError for a patch_size that the stem does not make."""
    size, patch, stride, margin = (c.get(k, v) for k, v in STEM.items())
    given = c.get("image_size", 224)
    if not all(fits(one, Count) for one in (size, patch, stride, given)) or size % 2 == 0 or margin != size // 2:
        raise XfmError(
            f"{c.path} has an image_size of {given!r}, patches of {patch!r} and convolutions of size {size!r}, stride "
            f"{stride!r} and padding {margin!r}; xfm has square images, and an odd size with half of it as padding"
        )
    if patch != stride**CONVOLUTIONS or given % patch:
        raise XfmError(
            f"{c.path} has an image_size of {given} and a patch_size of {patch}; its {CONVOLUTIONS} convolutions of "
            f"stride {stride} make patches of {stride**CONVOLUTIONS}, which have to divide the image"
        )
    return given // patch


STEM = {"kernel_size": 3, "patch_size": 16, "stride": 2, "padding": 1}


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    own, first = sizes(c), sizes(c)["hidden_sizes"][0]
    stem = levit.stem(first, c.get("stride", 2), c.get("kernel_size", 3))
    stages = list(zip(*own.values(), strict=True))
    spec = levit.network(stages, between(c), stem, grid(c), heads={}, drop_path=c.get("drop_path_rate", 0))
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec


def label(c: Settings) -> dict:
    """The spec of a classification head."""
    return levit.label(len(c.labels))


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: of the embedding, of each layer between stages, and of the last stage."""
    last = len(sizes(c)["depths"]) - 1
    return ("embed", *(f"stage_{i + 1}/down" for i in range(last)), f"stage_{last}")


def batch_norm(ours: str, theirs: str) -> Names:
    """The rows of a batch norm."""
    return {ours: theirs, f"{ours}/mean": f"{theirs}.running_mean", f"{ours}/variance": f"{theirs}.running_var"}


def normed_map(ours: str, theirs: str) -> Names:
    """The rows of a linear map with a batch norm after it."""
    return {ours: f"{theirs}.linear", **batch_norm(f"{ours}_norm", f"{theirs}.batch_norm")}


def biases(theirs: str) -> At:
    """The row of a table of distances."""
    return At(f"{theirs}.attention_biases", axes=(1, 0), merged=2)


def names(c: Settings) -> Names:
    """The table of names; the layer before a stage is the last but one of the stage before, and its MLP the last."""
    layer, found = "encoder.stages.{}.layers.{}.module", {}
    for i in range(CONVOLUTIONS):
        theirs = f"patch_embeddings.embedding_layer_{i + 1}"
        found[f"embed/stem/conv_{i}/kernel"] = kernel(f"{theirs}.convolution")
        found |= batch_norm(f"embed/stem/norm_{i}", f"{theirs}.batch_norm")
    found |= normed_map("stage/fused_attention_0/part/qkv", f"{layer}.queries_keys_values")
    found |= normed_map("stage/fused_attention_0/part/o", f"{layer}.projection")
    found["stage/fused_attention_0/part/position/table"] = biases(layer)
    found |= normed_map("stage/normed_mlp_0/part/up", f"{layer}.linear_up")
    found |= normed_map("stage/normed_mlp_0/part/down", f"{layer}.linear_down")
    for i, depth in enumerate(sizes(c)["depths"][:-1]):
        down, theirs = f"stage_{i + 1}/down", f"encoder.stages.{i}.layers."
        for name, of in (("kv", "keys_values"), ("q", "queries"), ("o", "projection")):
            found |= normed_map(f"{down}/{name}", f"{theirs}{2 * depth}.{of}")
        found[f"{down}/position/table"] = biases(f"{theirs}{2 * depth}")
        for name in ("up", "down"):
            found |= normed_map(f"{down}/ffn/{name}", f"{theirs}{2 * depth + 1}.module.linear_{name}")
    return found


def head(name: str, theirs: str) -> Head:
    """A classification head of this name."""
    return Head(name, label, {**batch_norm("pool/norm", f"{theirs}.batch_norm"), "out": f"{theirs}.linear"})


def of_stages(path: str):
    """A row for a key that lists a value for each stage, of the mixer, or of the MLP if the path says so."""
    step, _, field = path.partition("/")
    return lambda spec: [stage["pattern"][dict(mixer=0, mlp=1)[step]][field] for stage in spec["stages"]]


def widths(spec) -> list[int]:
    """The width of each stage."""
    return [spec["embed"]["width"], *(stage["down"]["width"] for stage in spec["stages"][1:])]


def ratios(path: str, of) -> list:
    """A row for a ratio of a field, by `of_stages`, to another one of each stage."""
    return lambda spec: [a // b for a, b in zip(of_stages(path)(spec), of(spec), strict=True)]


def down_ops(spec) -> list[list]:
    """The layers between stages as config.json lists them."""
    return [
        ["Subsample", d["keys"], d["heads"], d["values"] // d["keys"], d["ffn"]["hidden"] // d["width"], d["stride"]]
        for d in (stage["down"] for stage in spec["stages"][1:])
    ]


def patch(spec) -> int:
    """The side of a patch in pixels."""
    return spec["embed"]["stem"]["strides"][0] ** CONVOLUTIONS


KEYS = {
    "num_channels": "embed/channels",
    "image_size": lambda spec: spec["stages"][0]["pattern"][0]["position"]["size"] * patch(spec),
    "patch_size": patch,
    "kernel_size": "embed/stem/size",
    "padding": lambda spec: spec["embed"]["stem"]["size"] // 2,
    "stride": lambda spec: spec["embed"]["stem"]["strides"][0],
    "hidden_sizes": widths,
    "num_attention_heads": of_stages("mixer/heads"),
    "depths": lambda spec: [stage["repeats"] for stage in spec["stages"]],
    "key_dim": of_stages("mixer/width"),
    "mlp_ratio": ratios("mlp/hidden", widths),
    "attention_ratio": ratios("mixer/values", of_stages("mixer/width")),
    "down_ops": down_ops,
}
FAMILY = Family(
    model_type="levit",
    prefix="levit.",
    network=network,
    keys=KEYS,
    classes="Levit",
    names=names,
    sublayers=1,
    heads={
        "pooled": Head("pooled", lambda c: dict(kind="vector", pool=dict(kind="mean")), {}, of_encoder=True),
        "image_classification": head("label", "classifier"),
        "image_classification_with_teacher": head("cls", "classifier"),
        "distillation": head("distillation", "classifier_distill"),
    },
    architectures={
        "Model": ("pooled",),
        "ForImageClassification": ("image_classification",),
        "ForImageClassificationWithTeacher": ("image_classification_with_teacher", "distillation"),
    },
    files=Files(ignored={r".*\.num_batches_tracked": "it counts steps of training"}),
    calling=Calling(reads="images", inputs=inputs, example=example, outputs=mean_of_two, streams=streams),
)
