"""PVT: a pyramid of patches with learned positions, whose attention reads a coarser grid of keys and values.

Wang, Xie, Li, Fan, Song, Liang, Lu, Luo, Shao, "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction
without Convolutions", 2021.

Reproduced: the four networks of table 1 (from memory), with the parameters of transformers' networks of these sizes,
for which the paper prints 13.2, 24.5, 44.2 and 61.4 million (from memory). The recipe is DeiT's.
Command: xfm train configs/vision/pvt.py:S --workdir runs/pvt --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages. Result of the tiny run: 84.6 % of scikit-learn's digits held
out are classified correctly after 200 steps.
"""

from xfm.configs.vision import vit

PAPER = "Wang et al. 2021, Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions"
ORACLE = "transformers PvtForImageClassification with copied weights (goldens) and its parameters"
MARGIN = 1.2  # nats

# layers of the stages, rate of stochastic depth (0.3 for L, from memory)
SIZES = {"T": ((2, 2, 2, 2), 0.1), "S": ((3, 4, 6, 3), 0.1), "M": ((3, 4, 18, 3), 0.3), "L": ((3, 8, 27, 3), 0.3)}
WIDTHS, HEADS, RATIOS, REDUCTIONS = (64, 128, 320, 512), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)
PATCHES, SIDES = ((4, 4), (2, 2), (2, 2), (2, 2)), (56, 28, 14, 7)
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as transformers' networks of these sizes have.
PARAMETERS = {"T": 13_229_288, "S": 24_485_864, "M": 44_208_104, "L": 61_369_320}
# The paper's figures (from memory) for 224 x 224 pixels, in billions of products; its 1.9 for T is 1.93 here.
GMACS = {"S": 3.8, "M": 6.7, "L": 9.8}


def network(layers, widths, heads, hidden, reductions, patches, sides, classes=1000, activation="gelu", eps=1e-6,
            drop_path=0.0):  # fmt: skip
    """The spec of the pyramid, whose last stage has a class token.

    hidden: width of each stage's MLP.  reductions: rows and columns that a key is made of.  patches: (size, stride).
    sides: rows and columns of the grid of which each stage's table of positions is.  All of them for each stage.
    """
    norm, last = dict(kind="layernorm", eps=eps), len(layers) - 1

    def attention(i):
        spec = dict(kind="attention", heads=heads[i])
        if reductions[i] == 1:
            return spec
        down = dict(kind="strided_conv", width=widths[i], stride=reductions[i], rest="drop", out_norm=norm)
        return dict(kind="reduced", mixer=dict(spec, memory="reduced"), down=down)

    def position(i):
        return dict(kind="learned_grid", size=sides[i], first=int(i == last), resize="bilinear")

    def down(i):
        size, stride = patches[i]
        tiles = dict(kind="strided_conv", width=widths[i], size=size, stride=stride, rest="drop", out_norm=norm)
        return dict(kind="positioned", down=tiles, position=position(i), cls=int(i == last))

    def stage(i):
        mlp = dict(kind="mlp", hidden=hidden[i], activation=activation)
        return dict(down=down(i) if i else None, pattern=[attention(i), mlp], repeats=layers[i])

    stem = dict(kind="conv", size=patches[0][0], stride=patches[0][1], margin=0, norm=norm)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=widths[0], cls=int(last == 0), position=position(0)),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes)),
    )


def get_config(arg="S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        patches, sides = ((1, 1), (2, 2)), (8, 4)
        c.model = network((1, 2), (32, 64), (1, 2), (64, 128), (4, 1), patches, sides, classes=10)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, drop_path = SIZES[arg]
    hidden = [width * ratio for width, ratio in zip(WIDTHS, RATIOS, strict=True)]
    c.model = network(layers, WIDTHS, HEADS, hidden, REDUCTIONS, PATCHES, SIDES, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    return c
