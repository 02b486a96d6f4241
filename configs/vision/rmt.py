"""RMT: attention whose scores fall with the distance on the grid, along rows and columns in the first stages.

Fan, Huang, Chen, Liu, He, "RMT: Retentive Networks Meet Vision Transformers", 2024.

Reproduced: the four networks of the authors' program, parameter for parameter (its RMT_T3, RMT_S, RMT_M2 and RMT_L6),
and its ImageNet-1k recipe, which is that of DeiT. Left out: token labelling.
Command: xfm train configs/vision/rmt.py:S --workdir runs/rmt --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale; the paper's S has 84.1 % of ImageNet's validation right.
`tiny` is for two CPU cores: two stages, the first along rows and columns, a minute of processor time. Result of the
tiny run: 98.6 % of scikit-learn's digits held out are classified correctly after 150 steps.
"""

from xfm.configs.vision import vit

PAPER = "Fan et al. 2024, RMT: Retentive Networks Meet Vision Transformers"
ORACLE = "the authors' program with copied weights (golden, logits and gradients); its parameter counts and products"
MARGIN = 1.5  # nats

A, G = "axes", "grid"
# layers, widths, heads and hidden widths as multiples, of each stage; spread of the decays; attention of each stage;
# whether the last two stages have learned gates; rate of stochastic depth
SIZES = {
    "T": ((2, 2, 8, 2), (64, 128, 256, 512), (4, 4, 8, 16), (3, 3, 3, 3), (4, 4, 6, 6), (A, A, G, G), False, 0.1),
    "S": ((3, 4, 18, 4), (64, 128, 256, 512), (4, 4, 8, 16), (4, 4, 3, 3), (4, 4, 6, 6), (A, A, A, G), False, 0.15),
    "B": ((4, 8, 25, 8), (80, 160, 320, 512), (5, 5, 10, 16), (4, 4, 3, 3), (5, 5, 6, 6), (A, A, A, G), True, 0.4),
    "L": ((4, 8, 25, 8), (112, 224, 448, 640), (7, 7, 14, 20), (4, 4, 3, 3), (6, 6, 6, 6), (A, A, A, G), True, 0.5),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes: what is trained, as counted by the authors' program, and the averages of batch norms.
PARAMETERS = {
    "T": 14_334_216 + 4_224, "S": 26_967_240 + 4_224, "B": 54_154_896 + 4_512, "L": 95_464_864 + 5_344,
}  # fmt: skip
# Products of one image of 224 pixels in units of 1e9, as PyTorch counts those of the authors' program; the paper prints
# 2.5, 4.5, 9.7 and 18.2.
GMACS = {"T": 2.637, "S": 4.777, "B": 10.373, "L": 19.488}
NORM, BATCHNORM = dict(kind="layernorm", eps=1e-6), dict(kind="batchnorm")


def turns(width):
    """RetNet's rotations of heads of that width: its wavelengths grow to 10,000, the last one included."""
    half = width // 2
    return dict(kind="rope", theta=10_000.0 ** (half / (half - 1)), pairs="neighbours")


def network(
    layers, widths, heads, ratios, spreads, along, gated=False, drop_path=0.0, strides=(2, 1, 2, 1), last=1024,
    classes=1000,
):  # fmt: skip
    """The spec of the pyramid.

    layers, widths, heads, ratios, spreads, along: of each stage; ratios of hidden widths to widths, spreads of decays
    over the heads.  gated: whether all stages but the first two have a learned gate of each channel.
    strides: of the stem's convolutions.  last: width of the layer before the mean.
    """

    def stage(i):
        decay = dict(kind="grid_decay", first=2.0, spread=float(spreads[i]))
        position = dict(kind="joined", positions=[turns(widths[i] // heads[i]), decay])
        gate = dict(kind="scaled", gate=1e-6, learn="channel") if gated and i > 1 else dict(kind="plain")
        pattern = [
            dict(part=dict(kind="depthwise"), norms={}, residual=dict(kind="plain")),
            dict(kind="manhattan", heads=heads[i], position=position, along=along[i]),
            dict(kind="local_mlp", hidden=int(ratios[i] * widths[i])),
        ]
        down = dict(kind="strided_conv", width=widths[i], size=3, margin=1, rest="drop", out_norm=BATCHNORM)
        return dict(
            down=down if i else None, pattern=pattern, repeats=layers[i], residual=dict(gate, drop_path=drop_path)
        )

    stem = dict(
        kind="convs", widths=(widths[0] // 2,) * 2 + (widths[0],) * (len(strides) - 3), strides=strides, norm=BATCHNORM,
        bias=True,
    )  # fmt: skip
    pool = dict(kind="projected", width=last, norm=BATCHNORM)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=widths[0], cls=0),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": NORM},
        heads=dict(label=dict(kind="classification", classes=classes, pool=pool)),
    )


def get_config(arg="S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network((1, 1), (16, 32), (2, 2), (2, 2), (4, 6), (A, G), strides=(1, 1, 1), last=64, classes=10)
        c.objective.update(mixup=0.0)
        c.steps, c.schedule = 150, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    *sizes, drop_path = SIZES[arg]
    c.model = network(*sizes, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    return c
