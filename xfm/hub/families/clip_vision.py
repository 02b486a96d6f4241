"""The image towers of CLIP and SigLIP, from files of the tower alone or of the whole model.

Radford et al. 2021; Zhai et al. 2023. The oracles are transformers' CLIPVisionModel, CLIPVisionModelWithProjection,
SiglipVisionModel, and CLIPForImageClassification and SiglipForImageClassification, whose files hold this tower alone
though their config.json is that of the whole model. Images of any size that the patches divide are read: the positions
are resized as transformers does with interpolate_pos_encoding=True.
"""

import dataclasses

from xfm.configs.vision import vit
from xfm.errors import XfmError
from xfm.hub import buffers
from xfm.hub.families import clip
from xfm.hub.families.vit import example, image_size, inputs, sides
from xfm.hub.family import Calling, Family, Files, Head
from xfm.hub.naming import At, Names
from xfm.hub.settings import ACTIVATIONS, Settings


def tower(c: Settings) -> Settings:
    """The settings of the image tower: those under a key in a whole model's config.json, else `c` itself."""
    return clip.tower(c, "vision")


def network(c: Settings, cls: int, activation: str, eps: float) -> dict:
    """The spec of the network that config.json describes, without heads.

    cls: the number of class tokens, with which the embedding ends in a norm and the stream has none at its end (CLIP).
    activation, eps: the defaults of keys that config.json does not have.
    """
    t = tower(c)
    if t is not c:
        for key in clip.ASIDE:
            c.get(key)
    for key in ("projection_dim", "vision_use_head"):  # of heads, which may not be loaded
        t.get(key)
    patch, size = sides(t, "patch_size", 16 if cls == 0 else 32), sides(t, "image_size", 224)
    if any(n < p for n, p in zip(size, patch, strict=True)):
        raise XfmError(f"{t.path} has an image_size of {size}, which is smaller than its patch_size of {patch}")
    spec = vit.network(
        layers=t.get("num_hidden_layers", 12),
        width=t.get("hidden_size", 768),
        heads=t.get("num_attention_heads", 12),
        hidden=t.get("intermediate_size", 3072),
        patch=patch[0] if patch[0] == patch[1] else patch,
        size=size,
        cls=cls,
        classes=0,
        activation=t.choose("hidden_act", ACTIVATIONS, activation),
        eps=t.get("layer_norm_eps", eps),
    )
    spec["embed"]["channels"] = t.get("num_channels", 3)
    if cls:
        spec["embed"].update(bias=False, norm=spec["norm"])
        spec["norm"] = None
    t.finish()
    return spec | {"heads": {}}


def at_class(c: Settings) -> dict:
    """The spec of the head that pools the class token, with a norm."""
    norm = dict(kind="layernorm", eps=tower(c).get("layer_norm_eps", 1e-5))
    return dict(kind="vector", pool=dict(kind="normed", pool=dict(kind="cls"), norm=norm))


def by_attention(c: Settings) -> dict:
    """The spec of the head that pools by the attention of a learned query, and an MLP after it."""
    t = tower(c)
    ffn = dict(
        kind="mlp",
        hidden=t.get("intermediate_size", 3072),
        activation=t.choose("hidden_act", ACTIVATIONS, "gelu_pytorch_tanh"),
    )
    norm = dict(kind="layernorm", eps=t.get("layer_norm_eps", 1e-6))
    return dict(kind="vector", pool=dict(kind="attention", heads=t.get("num_attention_heads", 12), ffn=ffn, norm=norm))


def names(first: Names):
    """From config.json to the table of names.  first: rows that only one of the two families has."""

    def of(c: Settings) -> Names:
        t = tower(c)
        patch = (*sides(t, "patch_size", 16 if "embed/cls" not in first else 32), t.get("num_channels", 3))
        kernel = At("embeddings.patch_embedding.weight", axes=(2, 3, 1, 0), sides=(*patch, t.get("hidden_size", 768)))
        return {**LAYERS, **first, "embed/position": "embeddings.position_embedding", "embed/patch/kernel": kernel}

    return of


LAYERS = {path: name for path, name in clip.NAMES.items() if path.startswith("layer/")}
KEYS = {
    **{key: path for key, path in clip.KEYS.items() if key not in ("vocab_size", "max_position_embeddings")},
    "image_size": image_size,
    "patch_size": "embed/patch",
    "num_channels": "embed/channels",
}
IGNORED = {
    r"(vision_model\.)?embeddings\.position_ids": "it only counts 0, 1, 2, …",
    r"text_model\..*|text_projection\.weight": "it belongs to the text tower",
    r"logit_scale|logit_bias": "it is only used to compare texts with images",
}

CLIP = Family(
    model_type="clip_vision_model",
    prefix="vision_model.",
    network=lambda c: network(c, 1, "quick_gelu", 1e-5),
    keys=KEYS | {"layer_norm_eps": "embed/norm/eps", "projection_dim": "heads/embeds/pool/width"},
    classes="CLIP",
    names=names({"embed/cls": At("embeddings.class_embedding", axes=(0,), sides=(-1,)), "embed/norm": "pre_layrnorm"}),
    heads={
        "pooled": Head("pooled", at_class, {"pool/norm": "post_layernorm"}, of_encoder=True),
        "image_embeds": Head("embeds", clip.projection, {"pool/dense": "visual_projection"}, ("pooled",)),
    },
    architectures={
        "VisionModel": ("pooled",),
        "VisionModelWithProjection": ("image_embeds",),
        "Model": ("image_embeds",),
    },
    files=Files(
        wholes=("Model",), ignored=IGNORED, buffers={r"(vision_model\.)?embeddings\.position_ids": buffers.COUNTED}
    ),
    calling=Calling(reads="images", inputs=inputs, example=lambda c: example(tower(c)), last="hidden"),
)
QUERIES = "head.attention"
SIGLIP = dataclasses.replace(
    CLIP,
    model_type="siglip_vision_model",
    network=lambda c: network(c, 0, "gelu_pytorch_tanh", 1e-6),
    keys=KEYS | {"vision_use_head": lambda spec: "pooled" in spec["heads"]},
    classes="Siglip",
    names=names({"embed/patch/bias": "embeddings.patch_embedding.bias", "norm": "post_layernorm"}),
    heads={
        "pooled": Head(
            "pooled",
            by_attention,
            {
                "pool/query": At("head.probe", axes=(0, 1, 2), sides=(1, 1, -1)),
                **{
                    f"pool/{one}/{leaf}": At(f"{QUERIES}.in_proj_{name}", part=(i, 3))
                    for i, one in enumerate("qkv")
                    for leaf, name in (("kernel", "weight"), ("bias", "bias"))
                },
                "pool/o": f"{QUERIES}.out_proj",
                "pool/norm": "head.layernorm",
                "pool/ffn/up": "head.mlp.fc1",
                "pool/ffn/down": "head.mlp.fc2",
            },
            of_encoder=True,
        )
    },
    architectures={"VisionModel": ("pooled",), "Model": ("pooled",)},
    calling=dataclasses.replace(CLIP.calling, last="layer"),
)


def labelled(family: Family, model_type: str, pool: str = "mean") -> Family:
    """The family of an image tower with a classifier, whose config.json is that of the whole model.

    family: of the tower alone.  model_type: of the whole model.  pool: the kind of pool that the classifier reads.
    """

    def classifier(c: Settings) -> dict:
        return dict(kind="classification", classes=len(c.labels), pool=dict(kind=pool))

    return dataclasses.replace(
        family,
        model_type=model_type,
        keys={},
        heads={
            "pooled": family.heads["pooled"],
            "image_classification": Head("label", classifier, {"out": "classifier"}),
        },
        architectures={"ForImageClassification": ("image_classification",)},
        files=dataclasses.replace(family.files, wholes=()),
    )


CLIP_LABEL, SIGLIP_LABEL = labelled(CLIP, "clip", "patch_mean"), labelled(SIGLIP, "siglip")
