"""SegFormer: Xie et al. 2021, whose encoder is PVT v2's network, with heads for classes of images and of pixels.

The oracles are transformers' SegformerModel, SegformerForImageClassification and SegformerForSemanticSegmentation,
whose files these are; their norms have the epsilon 1e-5, whatever layer_norm_eps in config.json is.
"""

import numpy as np

from xfm.hub.families.pvt_v2 import KEYS, kernel, network, pointwise, streams
from xfm.hub.families.swin import label
from xfm.hub.families.vit import inputs
from xfm.hub.family import Batch, Calling, Family, Files, Head
from xfm.hub.settings import Settings

EPS = 1e-5
SIDE = 32  # pixels of the example; the network has no size of its own
MOST_STAGES = 8


def encoder(c: Settings) -> dict:
    """The spec of the network that config.json describes, without heads."""
    c.get("layer_norm_eps")
    for key in ("decoder_hidden_size", "classifier_dropout_prob", "semantic_loss_ignore_index", "reshape_last_stage",
                "downsampling_rates", "align_corners"):  # fmt: skip
        c.get(key)  # of heads, which may not be loaded, or of how arrays are laid out
    c.only("linear_attention", False)
    return network(c, mlp_ratios=(4, 4, 4, 4), eps=EPS)


def segmentation(c: Settings) -> dict:
    """The spec of the head that gives each pixel of the first stage's map a class."""
    norm = dict(kind="fixed_batchnorm", eps=1e-5)
    return dict(
        kind="all_mlp",
        classes=len(c.labels),
        width=c.get("decoder_hidden_size", 256),
        norm=norm,
        drop=c.get("classifier_dropout_prob", 0.1),
    )


def example(c: Settings) -> Batch:
    """A black image."""
    return dict(images=np.zeros((1, SIDE, SIDE, c.get("num_channels", 3)), np.float32))


LAYER = "encoder.block.{}.{}."
ATTENTION = f"{LAYER}attention.self."
FIRST, OTHER = "encoder.patch_embeddings.0.", "encoder.patch_embeddings.{}."
NAMES = {
    "embed/stem/conv/kernel": kernel(f"{FIRST}proj"),
    "embed/stem/conv": f"{FIRST}proj",
    "embed/stem/norm": f"{FIRST}layer_norm",
    "stage/down/conv/kernel": kernel(f"{OTHER}proj"),
    "stage/down/conv": f"{OTHER}proj",
    "stage/down/out_norm": f"{OTHER}layer_norm",
    "stage/norm": "encoder.layer_norm.{}",
    "stage/0/in_norm": f"{LAYER}layer_norm_1",
    **{
        f"stage/0/part/{inside}{ours}": f"{LAYER}attention.{name}"
        for inside in ("", "mixer/")
        for ours, name in (("q", "self.query"), ("k", "self.key"), ("v", "self.value"), ("o", "output.dense"))
    },
    "stage/0/part/down/conv/kernel": kernel(f"{ATTENTION}sr"),
    "stage/0/part/down/conv": f"{ATTENTION}sr",
    "stage/0/part/down/out_norm": f"{ATTENTION}layer_norm",
    "stage/1/in_norm": f"{LAYER}layer_norm_2",
    "stage/1/part/up": f"{LAYER}mlp.dense1",
    "stage/1/part/conv/kernel": kernel(f"{LAYER}mlp.dwconv.dwconv", depthwise=3),
    "stage/1/part/conv": f"{LAYER}mlp.dwconv.dwconv",
    "stage/1/part/down": f"{LAYER}mlp.dense2",
}
DECODER = {
    **{f"level_{i}": f"decode_head.linear_c.{i}.proj" for i in range(MOST_STAGES)},
    "join/kernel": pointwise("decode_head.linear_fuse"),
    "norm": "decode_head.batch_norm",
    "norm/mean": "decode_head.batch_norm.running_mean",
    "norm/variance": "decode_head.batch_norm.running_var",
    "out/kernel": pointwise("decode_head.classifier"),
    "out/bias": "decode_head.classifier.bias",
}
COUNT = {r"decode_head\.batch_norm\.num_batches_tracked": "it counts steps of training"}
FAMILY = Family(
    model_type="segformer",
    prefix="segformer.",
    network=encoder,
    keys={key: row for key, row in KEYS.items() if key not in ("layer_norm_eps", "linear_attention")}
    | {"decoder_hidden_size": "heads/segmentation/width", "classifier_dropout_prob": "heads/segmentation/drop"},
    classes="Segformer",
    names=NAMES,
    heads={
        "image_classification": Head("label", label, {"out": "classifier"}),
        "semantic_segmentation": Head("segmentation", segmentation, DECODER),
    },
    architectures={
        "Model": (),
        "ForImageClassification": ("image_classification",),
        "ForSemanticSegmentation": ("semantic_segmentation",),
    },
    files=Files(ignored=COUNT),
    calling=Calling(reads="images", inputs=inputs, example=example, streams=streams),
)
