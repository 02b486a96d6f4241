"""WaveMix: tokens mixed on the levels of a wavelet transform, by MLPs and transposed convolutions.

Jeevan, Viswanathan, Anandu, Sethi, "WaveMix: A Resource-efficient Neural Network for Image Analysis", 2022.

Reproduced: the authors' networks for ImageNet (192/16 with one and three levels, 256/16 with three) as their program
has them. Different from the paper: the recipe, which is that of DeiT.
Command: xfm train configs/vision/wavemix.py:192_16 --workdir runs/wavemix --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale. The authors' README has 75.3 % for ImageNet-1k.
`tiny` is for two CPU cores: two layers of two levels, a minute of processor time. Result of the tiny run: 98.6 % of
scikit-learn's digits held out are classified correctly after 120 steps.
"""

from xfm.configs.vision import vit

PAPER = "Jeevan et al. 2022, WaveMix: A Resource-efficient Neural Network for Image Analysis"
ORACLE = "a PyTorch model of the description with copied weights (golden); counts and GMACs of the authors' program"
MARGIN = 1.2  # nats

# layers, width, levels of the transform
SIZES = {"192_16": (16, 192, 3), "256_16": (16, 256, 3), "192_16_level1": (16, 192, 1)}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes: trained ones, as the authors' program counts them, and the running averages of the batch norms.
PARAMETERS = {
    "192_16": 27_857_608 + 12_672, "256_16": 49_416_808 + 16_896, "192_16_level1": 12_494_536 + 6_528,
}  # fmt: skip
GMACS = {"192_16": 15.13, "256_16": 26.85, "192_16_level1": 12.79}  # of the authors' program


def network(layers, width, levels, patch=4, classes=1000, drop=0.5):
    """The spec of the network, whose MLPs have twice the stream's width.

    drop: rate of dropout in the MLPs.
    """
    return dict(
        kind="stack",
        embed=dict(
            kind="patches", width=width, cls=0,
            stem=dict(kind="linear_convs", widths=(width // 4, width // 2), patch=patch),
        ),
        pattern=[dict(kind="wavemix", hidden=2 * width, inner=width, levels=levels, drop=drop)],
        repeats=layers,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )  # fmt: skip


def get_config(arg="192_16"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(2, 32, 2, patch=1, classes=10, drop=0.1)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        return c
    c.model = network(*SIZES[arg])
    c.model["embed"]["channels"] = 3
    return c
