"""Hiera: a pyramid of plain layers, whose fine stages attend within units of tokens and whose queries are pooled.

Ryali, Hu, Bolya, Wei, Fan, Huang, Aggarwal, Chowdhury, Poursaeed, Hoffman, Malik, Li, Feichtenhofer, "Hiera: A
Hierarchical Vision Transformer without the Bells-and-Whistles", 2023.

Reproduced: the six networks of table 1, parameter for parameter, for images of 224 pixels. The paper trains them as
masked autoencoders first (section 4), which is not here; the recipe is DeiT's. The program keeps tokens in an order of
its own in memory; here they stay in reading order.
Command: xfm train configs/vision/hiera.py:B --workdir runs/hiera --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages, a minute of processor time. Result of the tiny run: 98.6 % of the digits of
scikit-learn that are held out are classified correctly after 200 steps.
"""

from xfm.configs.vision import vit

PAPER = "Ryali et al. 2023, Hiera: A Hierarchical Vision Transformer without the Bells-and-Whistles"
ORACLE = "transformers HieraForImageClassification with copied weights (goldens); parameters and GMACs of timm"
MARGIN = 1.5  # nats

# layers of the stages, width and heads of the first, rate of stochastic depth
SIZES = {
    "T": ((1, 2, 7, 2), 96, 1, 0.1),
    "S": ((1, 2, 11, 2), 96, 1, 0.1),
    "B": ((2, 3, 16, 3), 96, 1, 0.1),
    "B+": ((2, 3, 16, 3), 112, 2, 0.1),
    "L": ((2, 6, 36, 4), 144, 2, 0.1),
    "H": ((2, 6, 36, 4), 256, 4, 0.3),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as timm counts them.
PARAMETERS = {
    "T": 27_910_216, "S": 35_008_072, "B": 51_524_968, "B+": 69_896_616, "L": 213_739_912, "H": 672_779_752,
}  # fmt: skip

# Of one image of 224 x 224 pixels, forward, in billions of products, as timm's networks are counted.
GMACS = {"T": 4.90, "S": 6.41, "B": 9.38, "B+": 12.64, "L": 40.27, "H": 124.7}


def network(stages, stem, grid, unit, hidden=4.0, pool=2, classes=1000, activation="gelu", eps=1e-6, drop_path=0.0):
    """The spec of the pyramid.

    stages: (layers, width, heads, whether they attend within units) of each stage.
    stem: size, stride and margin of the patches.  grid: rows and columns of patches for which positions are learned.
    unit: rows and columns of patches within which the first stage attends; they get fewer as tokens are pooled.
    hidden: width of the MLPs as a multiple of the stream's.  pool: rows and columns of tokens that a query of the next
    stage is made of.
    """
    layers, widths, heads, within = zip(*stages, strict=True)
    norm = dict(kind="layernorm", eps=eps)
    residual = dict(kind="plain", drop_path=drop_path)
    (p, q), (up, across) = ((a, a) if isinstance(a, int) else a for a in (unit, pool))

    def stage(i):
        mlp = dict(kind="mlp", hidden=int(widths[i] * hidden), activation=activation)
        attention = dict(kind="attention", heads=heads[i])
        if within[i]:
            attention = dict(kind="windowed", mixer=attention, window=(p // up**i, q // across**i))
        if i == 0:
            return dict(pattern=[attention, mlp], repeats=layers[i])
        finer = (p // up ** (i - 1), q // across ** (i - 1)) if within[i - 1] or within[i] else None
        down = dict(
            kind="pooled_queries", width=widths[i], heads=heads[i], size=(up, across), window=finer, ffn=mlp, norm=norm,
            residual=residual,
        )  # fmt: skip
        return dict(down=down, pattern=[attention, mlp], repeats=layers[i] - 1)

    pooled = dict(kind="normed", pool=dict(kind="mean"), norm=norm)
    position = dict(kind="learned_grid", size=grid, first=0)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=dict(stem, kind="conv"), width=widths[0], cls=0, position=position),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=residual,
        heads=dict(label=dict(kind="classification", classes=classes, pool=pooled)),
    )


STEM = dict(size=7, stride=4, margin=3)


def get_config(arg="B"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        stem = dict(size=3, stride=1, margin=1)
        c.model = network(((1, 32, 1, True), (2, 64, 2, False)), stem, grid=(8, 8), unit=4, classes=10)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, width, heads, drop_path = SIZES[arg]
    stages = [(layers[i], width * 2**i, heads * 2**i, i < 2) for i in range(4)]
    c.model = network(stages, STEM, grid=(56, 56), unit=8, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    return c
