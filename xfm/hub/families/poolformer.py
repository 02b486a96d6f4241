"""PoolFormer: Yu et al. 2022.

The oracles are transformers' PoolFormerModel and PoolFormerForImageClassification, whose files these are. The last norm
belongs to the classifier.
"""

from xfm.configs.vision import poolformer
from xfm.errors import XfmError
from xfm.fields import Positive, fits, shown
from xfm.hub import keys
from xfm.hub.families.convnext import scaled
from xfm.hub.families.pvt_v2 import STAGES, kernel, patches, pointwise, stages_of, streams
from xfm.hub.families.segformer import example
from xfm.hub.families.swin import per_stage
from xfm.hub.families.vit import inputs
from xfm.hub.family import Calling, Family, Head
from xfm.hub.settings import ACTIVATIONS, Settings

NORM = dict(kind="groupnorm", groups=1, eps=1e-5)


def network(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    lists = dict(
        depths=per_stage(c, "depths", (2, 2, 6, 2)),
        hidden_sizes=per_stage(c, "hidden_sizes", (64, 128, 320, 512)),
        patch_sizes=per_stage(c, "patch_sizes", (7, 3, 3, 3)),
        strides=per_stage(c, "strides", (4, 2, 2, 2)),
        padding=list(c.get("padding", (2, 1, 1, 1))),
    )
    stages_of(c, "num_encoder_blocks", **lists)
    for key in ("patch_size", "stride", "drop_path_rate"):  # which the network does not read
        c.get(key)
    scale, hidden, pool = c.get("layer_scale_init_value", 1e-5), c.get("mlp_ratio", 4.0), c.get("pool_size", 3)
    if not fits(hidden, Positive):
        raise XfmError(f"{c.path} sets mlp_ratio to {shown(hidden)}; it must be a number above 0")
    if pool % 2 == 0:
        raise XfmError(f"{c.path} sets pool_size to {shown(pool)}; it must be odd, so that a token has a middle")
    depths, sizes, *cut = lists.values()
    spec = poolformer.network(
        depths,
        sizes,
        hidden=hidden,
        patches=list(zip(*cut, strict=True)),
        pool=pool,
        scale=scale if c.get("use_layer_scale", True) else None,
        classes=0,
        activation=c.choose("hidden_act", ACTIVATIONS, "gelu"),
    )
    spec["embed"]["channels"] = c.get("num_channels", 3)
    return spec | {"heads": {}}


def label(c: Settings) -> dict:
    """The spec of the classification head, with the last norm."""
    return dict(kind="classification", classes=len(c.labels), pool=poolformer.pooled(NORM))


def mlp_ratio(spec) -> float:
    """The width of the MLPs as a multiple of the stream's."""
    return keys.at(spec, "stages/0/pattern/1/hidden") / spec["embed"]["width"]


LAYER = "encoder.block.{}.{}."
NAMES = {
    "embed/stem/conv/kernel": kernel("encoder.patch_embeddings.0.projection"),
    "embed/stem/conv": "encoder.patch_embeddings.0.projection",
    "stage/down/conv/kernel": kernel("encoder.patch_embeddings.{}.projection"),
    "stage/down/conv": "encoder.patch_embeddings.{}.projection",
    "stage/0/in_norm": f"{LAYER}before_norm",
    "stage/0/skip/scale": f"{LAYER}layer_scale_1",
    "stage/1/in_norm": f"{LAYER}after_norm",
    "stage/1/part/up/kernel": pointwise(f"{LAYER}output.conv1"),
    "stage/1/part/up": f"{LAYER}output.conv1",
    "stage/1/part/down/kernel": pointwise(f"{LAYER}output.conv2"),
    "stage/1/part/down": f"{LAYER}output.conv2",
    "stage/1/skip/scale": f"{LAYER}layer_scale_2",
}
KEYS = STAGES | {
    "padding": patches("margin"),
    "pool_size": "stages/0/pattern/0/size",
    "mlp_ratio": mlp_ratio,
    "hidden_act": "stages/0/pattern/1/activation",
    "use_layer_scale": scaled,
    "layer_scale_init_value": lambda spec: keys.at(spec, "residual/gate") if scaled(spec) else None,
}
FAMILY = Family(
    model_type="poolformer",
    prefix="poolformer.",
    network=network,
    keys=KEYS,
    classes="PoolFormer",
    names=NAMES,
    heads={"image_classification": Head("label", label, {"out": "classifier", "pool/norm": "norm"})},
    architectures={"Model": (), "ForImageClassification": ("image_classification",)},
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
