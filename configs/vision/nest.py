"""NesT: layers within square blocks of an image, which are joined four by four from level to level.

Zhang, Zhang, Zhao, Chen, Arik, Pfister, "Nested Hierarchical Transformer: Towards Accurate, Data-Efficient and
Interpretable Visual Understanding", 2022.

Reproduced: the three networks of table 1, parameter for parameter, and the ImageNet recipe of appendix A as far as
`vision/vit:deit_S` has it. Left out: GradCAT, and the generator made of transposed levels.
Command: xfm train configs/vision/nest.py:T --workdir runs/nest --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two levels, the first of four blocks. Result of the tiny run: 99.2 % of scikit-learn's
digits held out are classified correctly after 120 steps, a minute of processor time.
"""

from xfm.configs.vision import vit

PAPER = "Zhang et al. 2022, Nested Hierarchical Transformer"
ORACLE = "timm's Nest with copied weights (golden, logits and gradients); parameters and GMACs of timm's nest models"
MARGIN = 1.5  # nats

# layers, widths and heads of each level, rate of stochastic depth
SIZES = {
    "T": ((2, 2, 8), (96, 192, 384), (3, 6, 12), 0.2),
    "S": ((2, 2, 20), (96, 192, 384), (3, 6, 12), 0.3),
    "B": ((2, 2, 20), (128, 256, 512), (4, 8, 16), 0.5),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes and images of 224 pixels, as counted in timm 1.0.31.
PARAMETERS = {"T": 17_057_608, "S": 38_351_176, "B": 67_723_368}
# Products of one image in units of 1e9, as timm counts them.
GMACS = {"T": 5.81, "S": 10.32, "B": 17.93}


def network(layers, widths, heads, patch, grid, classes, drop_path=0.0, eps=1e-6, edge="end"):
    """The spec of the network, whose last level is a single block.

    layers, widths, heads: of each level.  grid: the side of the grid of patches, for which positions are learned.
    edge: of the tiles of block aggregation.
    """
    norm, block = dict(kind="layernorm", eps=eps), grid // 2 ** (len(layers) - 1)

    def position(i):
        return dict(kind="learned_grid", size=grid // 2**i, first=0)

    def level(i):
        down = dict(kind="block_aggregation", width=widths[i], norm=norm, position=position(i), edge=edge)
        pattern = [
            dict(kind="windowed", mixer=dict(kind="attention", heads=heads[i]), window=block),
            dict(kind="mlp", hidden=4 * widths[i]),
        ]
        return dict(down=down if i else None, pattern=pattern, repeats=layers[i])

    return dict(
        kind="pyramid",
        embed=dict(kind="patches", patch=patch, width=widths[0], cls=0, position=position(0)),
        stages=[level(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )


def get_config(arg="T"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network((1, 1), (32, 64), (2, 4), patch=1, grid=8, classes=10, drop_path=0.1)
        c.objective.update(mixup=0.0)
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, widths, heads, drop_path = SIZES[arg]
    c.model = network(layers, widths, heads, patch=4, grid=56, classes=1000, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    return c
