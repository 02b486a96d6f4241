"""CrossFormer: tokens of patches of several sizes, and attention by turns near and far, with a bias made of offsets.

Wang, Yao, Chen, Lin, Cai, He, Liu, "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention",
2022.

Reproduced: the four networks, parameter for parameter, and the ImageNet-1k recipe of the authors' program
(300 epochs with batches of 1024), which is Swin's with gradients clipped at 5. Left out: CrossFormer++ (growing groups
and cooling layers). Different from the program: two layers share a rate of stochastic depth, since they are one period.
Command: xfm train configs/vision/crossformer.py:T --workdir runs/crossformer --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale; the paper's T has 81.5 % of ImageNet's validation right.
`tiny` is for two CPU cores: two stages, a minute of processor time. Result of the tiny run: 98.3 % of scikit-learn's
digits held out are classified correctly after 150 steps.
"""

from xfm.configs.vision import swin, vit

PAPER = "Wang et al. 2022, CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention"
ORACLE = "the authors' program with copied weights (golden, logits and gradients); its parameter counts and products"
MARGIN = 1.5  # nats

# layers of each stage, width of the first, heads of each stage, rate of stochastic depth
SIZES = {
    "T": ((1, 1, 8, 6), 64, (2, 4, 8, 16), 0.1),
    "S": ((2, 2, 6, 2), 96, (3, 6, 12, 24), 0.2),
    "B": ((2, 2, 18, 2), 96, (3, 6, 12, 24), 0.3),
    "L": ((2, 2, 18, 2), 128, (4, 8, 16, 32), 0.5),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as counted by the authors' program; the paper prints 27.8M, 30.7M, 52.0M and 92.0M.
PARAMETERS = {"T": 27_776_794, "S": 30_657_394, "B": 51_971_554, "L": 91_971_184}
# Products of one image of 224 pixels in units of 1e9, as PyTorch counts those of the authors' program.
GMACS = {"T": 2.857, "S": 4.906, "B": 9.159, "L": 16.107}
INTERVALS = (8, 4, 2, 1)


def network(layers, width, heads, group, intervals, classes, patches=(4, 8, 16, 32), tiles=(2, 4), ratio=4,
            drop_path=0.0):  # fmt: skip
    """The spec of the pre-norm network, in which layers of near and far attention take turns.

    layers, heads: of each stage.  width: of the first stage, doubled by each next one.  group: side of the groups.
    intervals: of each stage, from one token of a far group to the next.  patches: sides of the patches, the first of
    which is their distance.  tiles: sides of what a token of the next stage is made of.  ratio: width of the MLPs, as a
    multiple of the stream's.
    """
    norm = dict(kind="layernorm", eps=1e-5)

    def layer(i, far):
        position = dict(kind="dynamic_grid", hidden=width * 2**i // 16, norm=norm)
        mixer = dict(kind="attention", heads=heads[i], position=position)
        near = dict(kind="windowed", mixer=mixer, window=group, fit="square")
        apart = dict(kind="strided", mixer=mixer, size=group, interval=intervals[i])
        return [apart if far else near, dict(kind="mlp", hidden=int(ratio * width * 2**i))]

    def stage(i):
        down = dict(kind="cross_scale", width=width * 2**i, sizes=tiles, norm=norm) if i else None
        count = layers[i] if layers[i] % 2 else 2  # an odd number of layers is no repetition of two
        pattern = [part for j in range(count) for part in layer(i, j % 2)]
        return dict(down=down, pattern=pattern, repeats=layers[i] // count)

    stem = dict(kind="cross_scale", sizes=patches, stride=patches[0], norm=norm)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=width, cls=0),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )


def get_config(arg="T"):
    if arg == "tiny":
        c = vit.get_config("tiny")
        c.model = network((2, 1), 48, (2, 4), group=2, intervals=(2, 1), classes=10, patches=(2, 4), drop_path=0.1)
        c.objective.update(mixup=0.0)
        c.steps, c.schedule = 150, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    c = swin.get_config("T")
    layers, width, heads, drop_path = SIZES[arg]
    c.model = network(layers, width, heads, group=7, intervals=INTERVALS, classes=1000, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    c.clip = 5.0
    return c
