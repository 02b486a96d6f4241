"""SegFormer: a class for each pixel, from a pyramid of attention with coarser keys and a head of linear maps alone.

Xie, Wang, Yu, Anandkumar, Alvarez, Luo, "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", 2021.

Reproduced: the networks of table 6 with 150 classes, parameter for parameter, and the recipe for ADE20K of section 4.1,
which is from memory: check it before a long run. Different from the paper: layer norm in the head, where batch
normalisation is the authors', one rate for encoder and head, and images that are scaled to 512 x 512 and not cropped at
random scales. Start from an encoder trained on ImageNet: --config.start.source=RUN.
Command: xfm train configs/vision/segformer.py:B0 --workdir runs/segformer --config.data.path=ADE20K/train
Cost: 160,000 steps of 16 images.  Result: not run at scale.
`tiny` is for two CPU cores: scenes of handwritten digits, each pixel of one of ten digits or of the background. Result
of the tiny run: after 200 steps a loss of 0.37 nats, 0.51 below its baseline, and a mean IoU of 0.35.
"""

from xfm.configs.vision import pvt_v2, upernet

PAPER = "Xie et al. 2021, SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers"
ORACLE = "transformers SegformerForSemanticSegmentation with copied weights (goldens); its parameter counts"
MARGIN = 0.3  # nats

# layers and widths of the stages, width of the head
WIDE = (64, 128, 320, 512)
SIZES = {
    "B0": ((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "B1": ((2, 2, 2, 2), WIDE, 256),
    "B2": ((3, 4, 6, 3), WIDE, 768),
    "B3": ((3, 4, 18, 3), WIDE, 768),
    "B4": ((3, 8, 27, 3), WIDE, 768),
    "B5": ((3, 6, 40, 3), WIDE, 768),
}
VARIANTS = ("tiny", *SIZES)
# With 150 classes, as transformers counts them.
PARAMETERS = {
    "B0": 3_752_694, "B1": 13_715_798, "B2": 27_461_974, "B3": 47_337_814, "B4": 64_108_374, "B5": 84_708_694,
}  # fmt: skip


def network(layers, widths, width, classes, heads=pvt_v2.HEADS, reductions=pvt_v2.REDUCTIONS, patches=pvt_v2.PATCHES,
            drop=0.0, drop_path=0.0):  # fmt: skip
    """The spec of the encoder and its head.  width, drop: of the head.  The others are as in `pvt_v2.network`."""
    hidden = [4 * one for one in widths]
    spec = pvt_v2.network(
        layers, widths, heads, hidden, reductions, patches, classes=0, eps=1e-5, inner_eps=1e-5, drop_path=drop_path
    )
    return spec | dict(heads=dict(mask=dict(kind="all_mlp", classes=classes, width=width, drop=drop)))


def get_config(arg="B0"):
    if arg == "tiny":
        c = upernet.get_config("tiny")
        c.model = network((2, 2), (32, 64), 64, 11, heads=(1, 2), reductions=(4, 2), patches=((3, 2), (3, 2)))
        return c
    c = upernet.get_config("swin_T")
    layers, widths, width = SIZES[arg]
    c.model = network(layers, widths, width, 150, drop=0.1, drop_path=0.1)
    c.model["embed"]["channels"] = 3
    return c
