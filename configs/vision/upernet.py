"""UPerNet on Swin: a class for each pixel, from a feature pyramid over the stages of a backbone.

Xiao, Liu, Zhou, Jiang, Sun, "Unified Perceptual Parsing for Scene Understanding", 2018; with the backbones and the
recipe of Liu et al., "Swin Transformer", 2021, section 4.3 and appendix A2.3 (ADE20K), which is from memory: check it
before a long run.

Reproduced: the networks, parameter for parameter, without the auxiliary head on the third stage. Different from the
paper: layer norm in the head, where batch normalisation is the authors'; images are scaled to 512 x 512 and not cropped
at random scales. Start from a backbone trained on ImageNet: --config.start.source=RUN.
Command: xfm train configs/vision/upernet.py:swin_T --workdir runs/upernet --config.data.path=ADE20K/train
Cost: 160,000 steps of 16 images.  Result: not run at scale.
`tiny` is for two CPU cores: scenes of handwritten digits, each pixel of one of ten digits or of the background. Result
of the tiny run: after 200 steps a loss of 0.44 nats, 0.44 below its baseline, and a mean IoU of 0.25.
"""

from ml_collections import ConfigDict

from xfm.configs.vision import swin

PAPER = "Xiao et al. 2018, Unified Perceptual Parsing (UPerNet); Liu et al. 2021, Swin Transformer, section 4.3"
ORACLE = "transformers UperNetHead with copied weights (goldens); its number of parameters"
MARGIN = 0.3  # nats

VARIANTS = ("tiny", *(f"swin_{size}" for size in ("T", "S", "B")))
# transformers' UperNetForSemanticSegmentation with 150 classes, less its auxiliary head and the backbone's last norm,
# which nothing reads.
PARAMETERS = {"swin_T": 59_018_064, "swin_S": 80_335_968, "swin_B": 120_061_006}


def network(backbone, width, classes, scales=(1, 2, 3, 6), drop=0.0):
    """The spec of a pyramid with UPerNet's head: each stage's features are normed, and there is no last norm.

    backbone: spec of a pyramid.  width, scales: of the head.
    """
    head = dict(kind="upernet", classes=classes, width=width, scales=scales, drop=drop)
    return {**backbone, "feature_norm": dict(kind="layernorm", eps=1e-5), "norm": None, "heads": dict(mask=head)}


def get_config(arg="swin_T"):
    if arg == "tiny":
        return tiny()
    c, (layers, width, heads, _) = ConfigDict(), swin.SIZES[arg.removeprefix("swin_")]
    backbone = swin.network(layers, width, heads, patch=4, window=7, classes=0, drop_path=0.3)
    backbone["embed"]["channels"] = 3
    c.model = network(backbone, width=512, classes=150, drop=0.1)
    c.init = [(r"(kernel|table)$", dict(kind="truncated_normal", std=0.02))]
    c.objective = dict(kind="segmentation", classes=150)
    c.evals = [dict(kind="masks")]
    classes = tuple(f"class {i}" for i in range(1, 151))
    c.data = dict(
        kind="masks", path="ADE20K/train", size=512, classes=classes, first=1, augment=[dict(kind="flip")],
        validation="ADE20K/val",
    )  # fmt: skip
    c.batch, c.clip, c.steps = 16, None, 160_000
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=6e-5, warmup=1500)
    c.log_every, c.eval_every, c.save_every = 50, 16_000, 16_000
    return c


def tiny():
    c = ConfigDict()
    backbone = swin.network((2, 2), 32, (2, 4), patch=2, window=4, classes=0)
    c.model = network(backbone, width=32, classes=11, scales=(1, 2))
    c.objective = dict(kind="segmentation", classes=11)
    c.evals = [dict(kind="masks")]
    c.data = dict(kind="masks", scenes=1600, validation=0.1)
    c.batch, c.clip, c.steps = 16, 1.0, 200
    c.optimiser = dict(kind="adamw", weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
