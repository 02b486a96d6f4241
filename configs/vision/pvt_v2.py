"""PVT v2: a pyramid whose attention reads a coarser grid, with overlapping patches and convolutions in the MLPs.

Wang, Xie, Li, Fan, Song, Liang, Lu, Luo, Shao, "PVT v2: Improved Baselines with Pyramid Vision Transformer", 2022.

Reproduced: the networks of table 1 and B2-Li, parameter for parameter, and the ImageNet-1k recipe of section 4.1 (that
of DeiT).
Command: xfm train configs/vision/pvt_v2.py:b2 --workdir runs/pvt --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages, 68 seconds of processor time. Result of the tiny run: 98.9 % of scikit-learn's
digits held out are classified correctly after 300 steps (98.3 % with seed 1).
"""

from xfm.configs.vision import vit

PAPER = "Wang et al. 2022, PVT v2: Improved Baselines with Pyramid Vision Transformer"
ORACLE = "transformers PvtV2ForImageClassification with copied weights (goldens); parameters and GMACs of timm"
MARGIN = 1.5  # nats

# layers and widths of the stages, hidden widths of their MLPs as multiples, rate of stochastic depth
WIDE, RATIOS = (64, 128, 320, 512), (8, 8, 4, 4)
SIZES = {
    "b0": ((2, 2, 2, 2), (32, 64, 160, 256), RATIOS, 0.1),
    "b1": ((2, 2, 2, 2), WIDE, RATIOS, 0.1),
    "b2": ((3, 4, 6, 3), WIDE, RATIOS, 0.1),
    "b2_li": ((3, 4, 6, 3), WIDE, RATIOS, 0.1),
    "b3": ((3, 4, 18, 3), WIDE, RATIOS, 0.3),
    "b4": ((3, 8, 27, 3), WIDE, RATIOS, 0.3),
    "b5": ((3, 6, 40, 3), WIDE, (4, 4, 4, 4), 0.3),
}
HEADS, REDUCTIONS = (1, 2, 5, 8), (8, 4, 2, 1)
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as timm counts them.
PARAMETERS = {
    "b0": 3_666_760, "b1": 14_009_000, "b2": 25_362_856, "b2_li": 22_553_512,
    "b3": 45_238_696, "b4": 62_556_072, "b5": 81_956_008,
}  # fmt: skip


# Of one image of 224 x 224 pixels, forward, in billions of products, as timm's networks are counted.
GMACS = {"b0": 0.57, "b1": 2.11, "b2": 4.03, "b2_li": 3.89, "b3": 6.90, "b4": 10.10, "b5": 11.72}
PATCHES = ((7, 4), (3, 2), (3, 2), (3, 2))  # (size, stride) of the patches of each stage


def network(layers, widths, heads, hidden, reductions, patches=PATCHES, classes=1000, activation="gelu", eps=1e-6,
            inner_eps=1e-5, drop_path=0.0):  # fmt: skip
    """The spec of the pyramid.

    hidden: width of each stage's MLP.  reductions: rows and columns that a key is made of, for each stage; "linear" for
    all stages: 49 keys, and a nonlinearity more in the MLPs.  patches: (size, stride) for each stage.
    inner_eps: of the norms of patches and of coarser keys, which the authors' program leaves at PyTorch's.
    """
    norm, inner = (dict(kind="layernorm", eps=one) for one in (eps, inner_eps))

    def attention(i):
        spec, width = dict(kind="attention", heads=heads[i]), widths[i]
        if reductions == "linear":
            down = dict(kind="pool_to", size=7, norm=inner, activation="gelu")
        elif reductions[i] == 1:
            return spec
        else:
            down = dict(kind="strided_conv", width=width, stride=reductions[i], rest="drop", out_norm=inner)
        return dict(kind="reduced", mixer=dict(spec, memory="reduced"), down=down)

    def stage(i):
        patch = dict(size=patches[i][0], stride=patches[i][1], margin=patches[i][0] // 2)
        down = dict(kind="strided_conv", width=widths[i], **patch, rest="drop", out_norm=inner)
        before = "relu" if reductions == "linear" else "identity"
        mlp = dict(kind="conv_mlp", hidden=hidden[i], activation=activation, before=before)
        return dict(down=down if i else None, pattern=[attention(i), mlp], repeats=layers[i], norm=norm)

    size, stride = patches[0]
    stem = dict(kind="conv", size=size, stride=stride, margin=size // 2, norm=inner)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=widths[0], cls=0),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )


def get_config(arg="b2"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network((1, 2), (32, 64), (1, 2), (64, 128), (4, 1), ((3, 1), (3, 2)), classes=10)
        c.steps, c.schedule = 300, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, widths, ratios, drop_path = SIZES[arg]
    hidden = [width * ratio for width, ratio in zip(widths, ratios, strict=True)]
    reductions = "linear" if arg == "b2_li" else REDUCTIONS
    c.model = network(layers, widths, HEADS, hidden, reductions, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    return c
