"""ViT, DeiT, ViT-MSN and I-JEPA: Dosovitskiy et al. 2021; Touvron et al. 2021; Assran et al. 2022 and 2023.

The oracles are transformers' models with their heads, whose files these are. Images of any size that
the patches divide are read: the positions are resized as transformers does with interpolate_pos_encoding=True.
"""

import dataclasses

import numpy as np

from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.fields import Count, fits
from xfm.hub import keys
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.inputs import marks
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings

MASK_TOKEN = {r"embeddings\.mask_token": "it only replaces hidden patches, in training"}


def sides(c: Settings, key: str, default: int) -> tuple[int, int]:
    """The value of a key as (rows, columns). Raises XfmError for another value than one or two sizes."""
    value = c.get(key, default)
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2 or not all(fits(one, Count) for one in pair):
        raise XfmError(f"{c.path} sets {key} to {value!r}; it must be a size in pixels, or its rows and columns")
    return pair


def patch_and_size(c: Settings, patch: int) -> tuple[int | tuple[int, int], tuple[int, int]]:
    """The sides of a patch and of an image. Raises XfmError for an image smaller than a patch.  patch: the default."""
    patch, size = sides(c, "patch_size", patch), sides(c, "image_size", 224)
    if any(n < p for n, p in zip(size, patch, strict=True)):
        raise XfmError(f"{c.path} has an image_size of {size}, which is smaller than its patch_size of {patch}")
    return patch[0] if patch[0] == patch[1] else patch, size


def biases(c: Settings) -> bool | tuple[str, ...]:
    """The projections of attention that have a bias; that of the output always has one."""
    return c.choose("qkv_bias", {True: True, False: ("o",)}, True)


def layers_of(c: Settings, activation: str = "gelu", eps: float = 1e-12) -> dict:
    """The arguments of `xfm.configs.vision.vit.network` about layers; the last two are for files that lack them."""
    return dict(
        layers=c.get("num_hidden_layers", 12),
        width=c.get("hidden_size", 768),
        heads=c.get("num_attention_heads", 12),
        hidden=c.get("intermediate_size", 3072),
        activation=c.choose("hidden_act", ACTIVATIONS, activation),
        eps=c.get("layer_norm_eps", eps),
    )


def network(c: Settings, cls: int = 1, eps: float = 1e-12) -> dict:
    """The spec of the network that config.json describes, without heads.

    cls: the number of class tokens.  eps: of the norms, by default.
    """
    for key in ("encoder_stride", "pooler_output_size", "pooler_act"):  # of heads, which may not be loaded
        c.get(key)
    patch, size = patch_and_size(c, 16)
    spec = vit.network(
        **layers_of(c, eps=eps),
        patch=patch,
        size=size,
        cls=cls,
        classes=0,
    )
    spec["embed"] |= dict(channels=c.get("num_channels", 3), mask="token" if masks(c) else None)
    spec["pattern"][0]["bias"] = biases(c)
    return spec | {"heads": {}}


def masks(c: Settings) -> bool:
    """Whether the files are of the class that hides patches, the only one with a mask token."""
    return any(str(name).endswith("ForMaskedImageModeling") for name in c.get("architectures") or ())


def masked(spec) -> bool:
    """Whether a network has a mask token, for families whose config.json says so."""
    return spec["embed"]["mask"] is not None


def pooler(c: Settings) -> dict:
    """The spec of the head that pools the class token through a layer."""
    width, activation = c.get("pooler_output_size"), c.choose("pooler_act", ACTIVATIONS, "tanh")
    return dict(kind="vector", pool=dict(kind="dense", width=width, activation=activation))


def label(index: int = 0):
    """From config.json to the spec of a classification head that reads a class token."""
    return lambda c: dict(kind="classification", classes=len(c.labels), pool=dict(kind="cls", index=index))


def pixels(c: Settings) -> dict:
    """The spec of the head that draws the image again. Raises XfmError for an encoder_stride that is no side."""
    stride = c.get("encoder_stride", 16)
    if not fits(stride, Count):
        raise XfmError(f"{c.path} sets encoder_stride to {stride!r}; it must be the side of a patch in pixels")
    return dict(kind="pixels", stride=stride, channels=c.get("num_channels", 3))


def inputs(c: Settings, images, bool_masked_pos=None) -> Batch:
    """The batch of these images [B height width C].  bool_masked_pos: [B patches], 1 where a patch is hidden."""
    return dict(images=images) | (
        {} if bool_masked_pos is None else dict(hidden=marks("bool_masked_pos", bool_masked_pos, len(images)))
    )


def example(c: Settings) -> Batch:
    """A black image of the size that config.json names."""
    return dict(images=np.zeros((1, *sides(c, "image_size", 224), c.get("num_channels", 3)), np.float32))


def names(first: Names, rest: Names | None = None):
    """From config.json to the table of names.

    first: names of the tensors [1 tokens D] of the embedding.  rest: those of the layers and the last norm, or ViT's.
    """

    def of(c: Settings) -> Names:
        width, projection = c.get("hidden_size", 768), "embeddings.patch_embeddings.projection"
        patch = (*sides(c, "patch_size", 16), c.get("num_channels", 3), width)
        tokens = {key: At(name, axes=(0, 1, 2), sides=(1, -1, width)) for key, name in first.items()}
        return (NAMES if rest is None else rest) | tokens | {
            "embed/patch/kernel": At(f"{projection}.weight", axes=(2, 3, 1, 0), sides=patch),
            "embed/patch/bias": f"{projection}.bias",
        }  # fmt: skip

    return of


def drawn(batch: Batch, out: dict) -> dict:
    """The image that the head for pixels draws by its name on the Hub, with the channels last as in all of xfm."""
    return out | ({"pixels": {"reconstruction": out["pixels"]}} if "pixels" in out else {})


def mean_of_two(batch: Batch, out: dict) -> dict:
    """DeiT's logits at test time: the mean of both heads, beside those of each."""
    out = drawn(batch, out)
    if "distillation" not in out or "cls" not in out:
        return out
    both = dict(cls_logits=out["cls"], distillation_logits=out["distillation"])
    return out | {"distillation": both | {"logits": (out["cls"] + out["distillation"]) / 2}}


POSITIONS = {"embed/position/table": "embeddings.position_embeddings"}
LAYER = "encoder.layer.{}."
NAMES = {
    "layer/0/in_norm": f"{LAYER}layernorm_before",
    "layer/0/part/q": f"{LAYER}attention.attention.query",
    "layer/0/part/k": f"{LAYER}attention.attention.key",
    "layer/0/part/v": f"{LAYER}attention.attention.value",
    "layer/0/part/o": f"{LAYER}attention.output.dense",
    "layer/1/in_norm": f"{LAYER}layernorm_after",
    "layer/1/part/up": f"{LAYER}intermediate.dense",
    "layer/1/part/down": f"{LAYER}output.dense",
    "embed/mask": At("embeddings.mask_token", axes=(0, 1, 2), sides=(1, 1, -1)),
    "norm": "layernorm",
}
KEYS = {
    **keys.ENCODER,
    "layer_norm_eps": "norm/eps",
    "image_size": lambda spec: image_size(spec),
    "patch_size": "embed/patch",
    "num_channels": "embed/channels",
    "qkv_bias": lambda spec: False if keys.at(spec, "pattern/0/bias") == ["o"] else None,
    "encoder_stride": "heads/pixels/stride",
    "pooler_output_size": "heads/pooled/pool/width",
    "pooler_act": "heads/pooled/pool/activation",
}
PIXELS = Head("pixels", pixels, {"out/kernel": At("decoder.0.weight", axes=(1, 0, 2, 3)), "out/bias": "decoder.0.bias"})
POOLED = Head("pooled", pooler, {"pool/dense": "pooler.dense"}, of_encoder=True)


def image_size(spec) -> int | list[int]:
    """The size in pixels of the images for which the positions are learned, one number for a square."""
    grid, patch = keys.at(spec, "embed/position/size"), keys.at(spec, "embed/patch")
    grid, patch = ((a, a) if isinstance(a, int) else a for a in (grid, patch))
    rows, columns = (n * p for n, p in zip(grid, patch, strict=True))
    return rows if rows == columns else [rows, columns]


FAMILY = Family(
    model_type="vit",
    prefix="vit.",
    network=network,
    keys=KEYS,
    classes="ViT",
    names=names({"embed/cls": "embeddings.cls_token", **POSITIONS}),
    heads={
        "pooled": POOLED,
        "image_classification": Head("label", label(), {"out": "classifier"}),
        "masked_image_modeling": PIXELS,
    },
    architectures={
        "Model": ("pooled",),
        "ForImageClassification": ("image_classification",),
        "ForMaskedImageModeling": ("masked_image_modeling",),
    },
    files=Files(ignored=MASK_TOKEN),
    calling=Calling(
        reads="images", inputs=inputs, example=example, more=("bool_masked_pos",), outputs=drawn, last="layer"
    ),
)
MSN = dataclasses.replace(
    FAMILY,
    model_type="vit_msn",
    network=lambda c: network(c, eps=1e-6),
    classes="ViTMSN",
    heads={"image_classification": Head("label", label(), {"out": "classifier"})},
    architectures={"Model": (), "ForImageClassification": ("image_classification",)},
)
IJEPA = dataclasses.replace(
    FAMILY,
    model_type="ijepa",
    prefix="ijepa.",
    network=lambda c: network(c, cls=0),
    classes="IJepa",
    names=names(POSITIONS),
    heads={
        "image_classification": Head(
            "label", lambda c: label()(c) | dict(pool=dict(kind="mean")), {"out": "classifier"}
        )
    },
    architectures={"Model": (), "ForImageClassification": ("image_classification",)},
)
DEIT = dataclasses.replace(
    FAMILY,
    model_type="deit",
    prefix="deit.",
    network=lambda c: network(c, cls=2),
    classes="DeiT",
    names=names({"embed/cls/0": "embeddings.cls_token", "embed/cls/1": "embeddings.distillation_token", **POSITIONS}),
    heads={
        "pooled": POOLED,
        "image_classification": Head("label", label(), {"out": "classifier"}),
        "image_classification_with_teacher": Head("cls", label(), {"out": "cls_classifier"}),
        "distillation": Head("distillation", label(1), {"out": "distillation_classifier"}),
        "masked_image_modeling": PIXELS,
    },
    architectures={
        "Model": ("pooled",),
        "ForImageClassification": ("image_classification",),
        "ForImageClassificationWithTeacher": ("image_classification_with_teacher", "distillation"),
        "ForMaskedImageModeling": ("masked_image_modeling",),
    },
    calling=dataclasses.replace(FAMILY.calling, outputs=mean_of_two),
)
