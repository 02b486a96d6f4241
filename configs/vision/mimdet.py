"""MIMDet: a plain vision transformer, pre-trained as a masked autoencoder, as the third stage of a pyramid.

Fang, Yang, Wang, Ge, Shan, Wang, "Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object
Detection", 2022.

Reproduced, from the authors' program: the backbone with features at strides of 4, 8, 16 and 32, parameter for
parameter. Four convolutions take the place of MAE's patches, and the maps of two of them are the finer features; the
transformer reads half of the tokens in training and all of them in evaluation; a decoder of four layers makes the map
again, whose tiles of 2 x 2 are pooled to the coarsest features. Then the rate, weight decay and stochastic depth of the
program for base and large.
Different from the paper: a feature pyramid with layer norms and a head for a class of each pixel, on ADE20K, with the
steps and images of vision/upernet; boxes, Mask R-CNN and COCO are not here. One rate for all parameters, where the
program has a lower one for the transformer and a higher one for what follows it. What MAE does not give starts as the
library's parts do, where the program draws linear maps by Glorot's and Bengio's uniform distribution. The tables of
positions are MAE's fixed sines for 14 x 14 patches, resized for other images, and stay as they are, without the row of
a class token.
Command: xfm train configs/vision/mimdet.py:B --workdir runs/mimdet --config.data.path=ADE20K/train
    --config.start.source=facebook/vit-mae-base
Cost: 160,000 steps of 16 images.  Result: not run at scale.
`tiny` is for two CPU cores: scenes of handwritten digits, each pixel of one of ten digits or of the background. Its
convolutions have strides of 1, 2, 2 and 1, so that the transformer reads 8 x 8 tokens of an image of 32 x 32 pixels.
Result of the tiny run: after 200 steps a loss of 0.52 nats, 0.36 below its baseline, and a mean IoU of 0.13.
"""

from xfm.augment import recipes
from xfm.configs.vision import upernet

PAPER = "Fang et al. 2022, Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object Detection"
ORACLE = "the authors' program with copied weights (golden), of all and of half of the tokens; its parameter counts"
MARGIN = 0.3  # nats

# layers, width, heads, rate of stochastic depth
SIZES = {"B": (12, 768, 12, 0.1), "L": (24, 1024, 16, 0.4)}
VARIANTS = ("tiny", *SIZES)
# Trained ones of the backbone, as the authors' program counts them.
BACKBONE = {"B": 102_533_728, "L": 323_221_632}


def network(layers, width, heads, ratio, size, depth, inner, inner_heads, head, strides=(2, 2, 2, 2), drop_path=0.0,
            channels=3):  # fmt: skip
    """The spec of the pyramid.

    ratio: share of the tokens that the transformer reads in training.  size: rows of the tables of positions.
    depth, inner, inner_heads: layers, width and heads of the decoder.  head: spec of the head "mask".
    strides: of the four convolutions.
    """
    group, norm = dict(kind="groupnorm", eps=1e-6), dict(kind="layernorm", eps=1e-5)
    position = dict(kind="learned_grid", size=size, first=0, start="sines")

    def layer(width, heads):
        return [dict(kind="attention", heads=heads), dict(kind="mlp", hidden=4 * width, activation="gelu")]

    def conv(width, stride, **out):
        conv = dict(kind="strided_conv", width=width, size=3, stride=stride, margin=1, bias=False, out_norm=group)
        return dict(kind="activated", down=conv, activation="gelu", **out)

    first = dict(kind="convs", widths=(width // 8,), strides=strides[:2], norm=group)
    stem = dict(kind="normed", stem=first, activation="gelu")
    encoder = dict(
        down=dict(kind="sampled", ratio=ratio, down=conv(width, strides[3], out=width), position=position),
        pattern=layer(width, heads), repeats=layers, residual=dict(kind="plain", drop_path=drop_path), norm=norm,
    )  # fmt: skip
    decoder = dict(
        down=dict(kind="restored", width=inner, position=position),
        pattern=layer(inner, inner_heads), repeats=depth, norm=norm,
    )  # fmt: skip
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=width // 4, cls=0, channels=channels),
        stages=[
            dict(pattern=()),
            dict(down=conv(width // 2, strides[2]), pattern=()),
            encoder,
            decoder,
            dict(down=dict(kind="pool", by="max"), pattern=()),
        ],
        norms={"in": norm},
        features=("stage_0", "stage_1", "stage_3", "stage_4"),
        heads=dict(mask=head),
    )


def head(classes, width, drop=0.0):
    """The spec of a feature pyramid, and of a head that joins its maps."""
    norm = dict(kind="layernorm", eps=1e-5)
    joined = dict(kind="all_mlp", classes=classes, width=width, drop=drop)
    return dict(kind="fpn", width=width, norm=norm, head=joined)


def head_size(widths, classes, width=256):
    """The number of the head's parameters.  widths: of the features."""
    maps = sum(width * (one + 9 * width) + 4 * width for one in widths)
    joined = len(widths) * (width + 1) * width + len(widths) * width**2 + 2 * width
    return maps + joined + (width + 1) * classes


# With both tables of positions, of 14 x 14 patches, and the head of 150 classes.
PARAMETERS = {
    size: BACKBONE[size] + 14**2 * (width + 512) + head_size((width // 4, width // 2, 512, 512), 150)
    for size, (_, width, _, _) in SIZES.items()
}


def get_config(arg="B"):
    c = upernet.get_config("tiny" if arg == "tiny" else "swin_T")
    c.freeze = [r"position/table$"]
    c.start = dict(
        source=None,
        renames=[
            ("^stage_2/(layers|norm)/", r"\1/"),
            ("^stage_3/(layers|norm)/", r"decoder/\1/"),
            ("^stage_3/down/in/", "decoder/embed/in/"),
        ],
        fresh=["^embed/", "^stage_1/", "^stage_2/down/", "^stage_3/down/(dropped|position)/", "^head_mask/"],
        export="none",
    )
    if arg == "tiny":
        c.model = network(2, 64, 4, 0.5, 8, 1, 32, 4, head(11, 32), strides=(1, 2, 2, 1), channels=1)
        return c
    layers, width, heads, drop_path = SIZES[arg]
    top = (layers - 1) / (layers + 3)  # the depth of the transformer's last layer, which the decoder's four come after
    c.model = network(layers, width, heads, 0.5, 14, 4, 512, 16, head(150, 256, drop=0.1), drop_path=drop_path / top)
    c.data.update(recipes.IMAGENET)
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.1)
    c.schedule = dict(kind="linear", peak=8e-5, warmup=1500)
    return c
