"""FocalNet: Yang et al. 2022.

The oracles are transformers' FocalNetModel, FocalNetForImageClassification, FocalNetForMaskedImageModeling and
FocalNetBackbone, whose files these are. transformers counts the layer between two stages to the finer one; its output
is the hidden state, and the feature map of a backbone.
Images are filled with zeros to whole patches, as there; grids that become odd between stages are refused here.
"""

import jax.numpy as jnp

from xfm.configs.vision import focalnet
from xfm.errors import XfmError
from xfm.fields import Positive, fits, shown
from xfm.hub import keys
from xfm.hub.families.backbones import chosen
from xfm.hub.families.pvt_v2 import UNREAD, kernel
from xfm.hub.families.swin import per_stage
from xfm.hub.families.vit import PIXELS, drawn, example, masks
from xfm.hub.families.vit import inputs as of_images
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.naming import At, Names, prefixed
from xfm.hub.settings import ACTIVATIONS, Settings

LISTS = {"depths": (2, 2, 6, 2), "focal_levels": (2, 2, 2, 2), "focal_windows": (3, 3, 3, 3)}
OVERLAPPING = dict(stem=(7, 4, 2), down=(3, 2, 1))  # size, stride and margin with use_conv_embed


def patch(c: Settings) -> int:
    """The side of a patch in pixels."""
    value = c.get("patch_size", 4)
    if not isinstance(value, int) or value < 1:
        raise XfmError(f"{c.path} sets patch_size to {shown(value)}; it must be the side of a square in pixels")
    return value


def convolutions(c: Settings) -> tuple[dict, dict]:
    """Size, stride and margin of the stem, and of the layers between stages."""
    overlapping, side = c.get("use_conv_embed", False), patch(c)
    if overlapping and side != OVERLAPPING["stem"][1]:
        raise XfmError(f"{c.path} sets use_conv_embed and a patch_size of {side}; its stem has a stride of 4")
    found = OVERLAPPING if overlapping else dict(stem=(side, side, 0), down=(2, 2, 0))
    return tuple(dict(zip(("size", "stride", "margin"), found[name], strict=True)) for name in ("stem", "down"))


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    lists = {key: per_stage(c, key, default) for key, default in LISTS.items()}
    if len(set(map(len, lists.values()))) != 1:
        raise XfmError(f"{c.path} has {', '.join(f'{len(v)} {k}' for k, v in lists.items())}; give one for each stage")
    for key in (*UNREAD, "hidden_sizes", "encoder_stride"):  # they do not change the result, or are of a head
        c.get(key)
    ratio, width = c.get("mlp_ratio", 4.0), c.get("embed_dim", 96)
    if not fits(ratio, Positive):
        raise XfmError(f"{c.path} sets mlp_ratio to {shown(ratio)}; it must be above 0")
    norm = dict(kind="layernorm", eps=c.get("layer_norm_eps", 1e-5))
    scale, scaled_by_file = c.get("layerscale_value", 1e-4), c.get("use_layerscale", False)
    spec = focalnet.network(
        lists["depths"],
        lists["focal_levels"],
        lists["focal_windows"],
        width,
        classes=0,
        ratio=ratio,
        patches=convolutions(c),
        norms=("residual" if c.get("use_post_layernorm", False) else "in",),
        gate=scale if scaled_by_file else None,
        eps=norm["eps"],
        total="mean" if c.get("normalize_modulator", False) else "sum",
        norm=norm if c.get("use_post_layernorm_in_modulation", False) else None,
    )
    spec["embed"] |= dict(channels=c.get("num_channels", 3), mask="token" if masks(c) else None)
    for stage in spec["stages"]:
        stage["pattern"][1]["activation"] = c.choose("hidden_act", ACTIVATIONS, "gelu")
    return spec | {"heads": {}}


def label(c: Settings) -> dict:
    """The spec of the classification head."""
    return dict(kind="classification", classes=len(c.labels), pool=dict(kind="mean"))


def inputs(c: Settings, images, bool_masked_pos=None) -> Batch:
    """The batch of these images, with zeros to whole patches; arguments as in `xfm.hub.families.vit.inputs`."""
    rest = [(0, -side % patch(c)) for side in images.shape[1:3]]
    if any(more for _, more in rest):
        images = jnp.pad(images, [(0, 0), *rest, (0, 0)])
    return of_images(c, images, bool_masked_pos)


def streams(c: Settings) -> tuple[str, ...]:
    """The paths of the hidden states: of the embedding, of each layer between stages, and of the last stage."""
    last = len(per_stage(c, "depths", LISTS["depths"])) - 1
    return ("embed", *(f"stage_{i + 1}/down" for i in range(last)), f"stage_{last}")


def features(c: Settings) -> tuple[int, ...]:
    """The numbers of the hidden states that a backbone returns as maps, 0 for the embedding's."""
    return chosen(c, len(per_stage(c, "depths", LISTS["depths"])))


def names(c: Settings) -> Names:
    """The table of names."""
    place = "residual_norm" if c.get("use_post_layernorm", False) else "in_norm"
    found = {f"stage/{i}/{place}": f"{LAYER}norm{i + 1}" for i in (0, 1)}
    levels, windows = (per_stage(c, key, LISTS[key]) for key in ("focal_levels", "focal_windows"))
    for stage, (count, window) in enumerate(zip(levels, windows, strict=False)):  # `network` refuses others
        for i in range(count):
            conv = kernel(f"{LAYER}modulation.focal_layers.{i}.0", depthwise=window + 2 * i)
            found[f"stage_{stage}/0/part/conv_{i}/kernel"] = conv
    return NAMES | found


PROJECTION = "embeddings.patch_embeddings.projection"
LAYER, DOWN = "encoder.stages.{}.layers.{}.", "encoder.stages.{before}.downsample."
NAMES = {
    "embed/stem/conv/kernel": kernel(PROJECTION),
    "embed/stem/conv": PROJECTION,
    "embed/stem/norm": "embeddings.norm",
    "embed/mask": At("embeddings.mask_token", axes=(0, 1, 2), sides=(1, 1, -1)),
    "stage/down/conv/kernel": kernel(f"{DOWN}projection"),
    "stage/down/conv": f"{DOWN}projection",
    "stage/down/out_norm": f"{DOWN}norm",
    "stage/0/part/in": f"{LAYER}modulation.projection_in",
    "stage/0/part/context/kernel": At(f"{LAYER}modulation.projection_context.weight", axes=(1, 0, 2, 3)),
    "stage/0/part/context": f"{LAYER}modulation.projection_context",
    "stage/0/part/norm": f"{LAYER}modulation.layernorm",
    "stage/0/part/out": f"{LAYER}modulation.projection_out",
    "stage/0/skip/scale": f"{LAYER}gamma_1",
    "stage/1/part/up": f"{LAYER}mlp.fc1",
    "stage/1/part/down": f"{LAYER}mlp.fc2",
    "stage/1/skip/scale": f"{LAYER}gamma_2",
    "norm": "layernorm",
}


def of_mixers(field: str):
    """A row for a key that lists a field of each stage's mixer."""
    return lambda spec: [stage["pattern"][0][field] for stage in spec["stages"]]


def scaled(spec) -> bool:
    """Whether the network has LayerScale."""
    return keys.at(spec, "residual/kind") == "scaled"


KEYS = {
    "num_channels": "embed/channels",
    "patch_size": "embed/stem/stride",
    "use_conv_embed": lambda spec: spec["embed"]["stem"]["margin"] != 0,
    "embed_dim": "embed/width",
    "depths": lambda spec: [stage["repeats"] for stage in spec["stages"]],
    "focal_levels": of_mixers("levels"),
    "focal_windows": of_mixers("window"),
    "normalize_modulator": lambda spec: spec["stages"][0]["pattern"][0]["total"] == "mean",
    "use_post_layernorm_in_modulation": lambda spec: spec["stages"][0]["pattern"][0]["norm"] is not None,
    "use_post_layernorm": lambda spec: "residual" in spec["norms"],
    "mlp_ratio": lambda spec: keys.at(spec, "stages/0/pattern/1/hidden") / spec["embed"]["width"],
    "hidden_act": "stages/0/pattern/1/activation",
    "use_layerscale": scaled,
    "layerscale_value": lambda spec: keys.at(spec, "residual/gate") if scaled(spec) else None,
    "layer_norm_eps": "norm/eps",
    "encoder_stride": "heads/pixels/stride",
}
BACKBONE = Family(
    model_type="focalnet",
    network=network,
    classes="FocalNet",
    names=lambda c: prefixed(names(c), "focalnet."),
    architectures={"Backbone": ()},
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams, features=features),
)
FAMILY = Family(
    model_type="focalnet",
    prefix="focalnet.",
    network=network,
    keys=KEYS,
    classes="FocalNet",
    names=names,
    heads={
        "pooled": Head("pooled", lambda c: dict(kind="vector", pool=dict(kind="mean")), {}, of_encoder=True),
        "image_classification": Head("label", label, {"out": "classifier"}),
        "masked_image_modeling": PIXELS,
    },
    architectures={
        "Model": ("pooled",),
        "ForImageClassification": ("image_classification",),
        "ForMaskedImageModeling": ("masked_image_modeling",),
    },
    files=Files(kin={("architectures", ("FocalNetBackbone",)): BACKBONE}),
    calling=Calling(
        reads="images",
        inputs=inputs,
        example=example,
        more=("bool_masked_pos",),
        outputs=drawn,
        streams=streams,
    ),
)
