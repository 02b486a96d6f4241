"""LambdaResNet: a residual network whose bottlenecks have lambda layers in the place of convolutions.

Bello, "LambdaNetworks: Modeling Long-Range Interactions Without Attention", 2021; He, Zhang, Ren, Sun, "Deep Residual
Learning for Image Recognition", 2016, for the blocks around them.

Reproduced: `50` and `50_u4`, where each convolution of 3 x 3 of a ResNet-50 is a lambda layer (appendix, the ablation
of heads and depth), and timm's hybrids `26t`, `50ts` and `26rpt`, whose last one has all offsets of images of 256
pixels. Different from the paper: where a block has a stride, 2 x 2 tokens are averaged after the lambda layer, as in
timm, and the recipe is that of DeiT.
Command: xfm train configs/vision/lambda_resnet.py:26t --workdir runs/lambda --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: one stage of a convolution and a lambda layer, a minute of processor time. Result of the
tiny run: 96.0 % of scikit-learn's digits held out are classified correctly after 120 steps.
"""

from xfm.configs.vision import vit

PAPER = "Bello 2021, LambdaNetworks: Modeling Long-Range Interactions Without Attention"
ORACLE = "timm's lambda layer and hybrid network with copied weights (goldens); parameters and GMACs of timm"
MARGIN = 1.2  # nats

C, L = "conv", "lambda_layer"
TIERED = ((24, 32, 64), 3)  # widths and size of the stem's convolutions
HYBRID = ((C, C), (C, C), (C, L), (L, L))
# stem, mixers of the blocks of each stage, rows and columns of the context (None: all of the image), depth of keys and
# values, bias of the position lambdas, activation
SIZES = {
    "26t": (TIERED, HYBRID, 9, 1, True, "relu"),
    "50ts": (TIERED, ((C, C, C), (C, C, C, L), (C, L) * 3, (C, L, C)), 9, 1, True, "silu"),
    "26rpt": (TIERED, HYBRID, None, 1, False, "relu"),
    "50": (((64,), 7), ((L,) * 3, (L,) * 4, (L,) * 6, (L,) * 3), 23, 1, False, "relu"),
    "50_u4": (((64,), 7), ((L,) * 3, (L,) * 4, (L,) * 6, (L,) * 3), 7, 4, False, "relu"),
}
VARIANTS = ("tiny", *SIZES)
WIDTHS = (256, 512, 1024, 2048)
IMAGE = 256  # pixels of timm's
# With 1000 classes: trained ones, as timm counts them (the paper prints 15.0M and 16.0M), and averages of batch norms.
PARAMETERS = {
    "26t": 10_958_272 + 31_984, "50ts": 21_536_832 + 54_576, "26rpt": 10_988_688 + 31_984,
    "50": 14_995_592 + 57_056, "50_u4": 16_040_360 + 62_720,
}  # fmt: skip
GMACS = {"26t": 3.00, "50ts": 5.04, "26rpt": 3.14}  # of timm, with images of 256 pixels


def network(
    stem, stages, size=9, depth=1, bias=True, activation="relu", widths=WIDTHS, heads=4, keys=16, image=IMAGE,
    strides=(2, 2), classes=1000,
):  # fmt: skip
    """The spec of the pyramid.

    stem: widths and size of its convolutions.  stages: of each, the mixers of its blocks.  size: rows and columns of a
    lambda layer's context, all those of an image of `image` pixels if None.  image: a side, or (rows, columns).
    strides: of the stem's first convolution and of the maxima after it.
    """
    (*before, width), pixels = stem
    norm, residual = dict(kind="batchnorm"), dict(kind="activated", activation=activation)
    convs = dict(
        kind="convs", widths=before, strides=(strides[0], *[1] * len(before)), size=pixels, activation=activation,
        norm=norm,
    )  # fmt: skip

    def mixer(kind, cell):
        """A block's mixer, for a grid whose tokens are that many pixels apart."""
        if kind == C:
            return dict(kind="conv")
        rows, columns = (image, image) if isinstance(image, int) else image
        every = (2 * (rows // cell) - 1, 2 * (columns // cell) - 1)
        return dict(kind=L, heads=heads, keys=keys, depth=depth, size=size or every, bias=bias)

    def stage(i, blocks):
        inner, cell = widths[i] // 4, strides[0] * strides[1] * 2**i
        first = dict(kind="bottleneck", width=widths[i], inner=inner, activation=activation, residual=residual)
        if i == 0:
            first["mixer"] = mixer(blocks[0], cell)
        elif blocks[0] == C:
            first["down"] = dict(kind="strided_conv", width=inner, size=3, margin=1, bias=False, rest="drop")
        else:
            first.update(mixer=mixer(L, cell // 2), down=dict(kind="pool"))
        rest = [dict(kind="bottleneck", inner=inner, mixer=mixer(k, cell), activation=activation) for k in blocks[1:]]
        alike = all(one == rest[0] for one in rest)
        return dict(down=first, pattern=rest[:1] if alike else rest, repeats=len(rest) if alike else 1)

    return dict(
        kind="pyramid",
        embed=dict(
            kind="patches", width=width, cls=0,
            stem=dict(kind="max_pooled", stem=convs, stride=strides[1], activation=activation),
        ),
        stages=[stage(i, blocks) for i, blocks in enumerate(stages)],
        residual=residual,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )  # fmt: skip


def get_config(arg="26t"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    if arg == "tiny":
        c.model = network(((8, 16), 3), ((C, L),), 5, widths=(64,), keys=8, image=8, strides=(1, 1), classes=10)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        return c
    c.model = network(*SIZES[arg])
    c.model["embed"]["channels"] = 3
    c.data.update(size=IMAGE, stored=292)
    return c
