"""TNT: a transformer over the visual words of each patch within every layer of a transformer over patches.

Han, Xiao, Wu, Guo, Xu, Wang, "Transformer in Transformer", 2021, table 1.

Reproduced: the networks, with their norms around the map from words to patches as in timm, and from memory, DeiT's
ImageNet-1k recipe, which the paper takes, without repeated augmentation.
Command: xfm train configs/vision/tnt.py:S --workdir runs/tnt --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers on scikit-learn's digits; the tiny run reads 95.7 % of the validation's right.
"""

from xfm.configs.vision import vit

PAPER = "Han et al. 2021, Transformer in Transformer"
ORACLE = "timm's tnt_s_patch16_224 at a small size with copied weights (goldens); its parameter counts"
MARGIN = 1.5  # nats

# layers, width and heads over patches, width and heads over words
SIZES = {"S": (12, 384, 6, 24, 4), "B": (12, 640, 10, 40, 4)}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as timm counts; the paper prints 23.8M and 65.6M.
PARAMETERS = {"S": 23_768_584, "B": 65_428_680}
GMACS = {"S": 5.22, "B": 14.05}  # as timm counts


def network(layers, width, heads, inner_width, inner_heads, patch, tile, grid, classes, drop_path=0.0):
    """The spec of the pre-norm network.

    tile: (size, stride, margin) of the words within a patch.  grid: rows and columns of patches.
    """
    norm = dict(kind="layernorm", eps=1e-5)
    size, stride, margin = tile
    words = (patch + 2 * margin - size) // stride + 1  # along one side of a patch

    def layer(heads, hidden):
        return [dict(kind="attention", heads=heads, bias=("o",)), dict(kind="mlp", hidden=hidden)]

    return dict(
        kind="nested",
        embed=dict(
            kind="words", patch=patch, width=inner_width, size=size, stride=stride, margin=margin,
            position=dict(kind="learned_grid", size=words, first=0),
        ),
        words=words**2,
        width=width,
        inner=layer(inner_heads, 4 * inner_width),
        pattern=layer(heads, 4 * width),
        repeats=layers,
        position=dict(kind="learned_grid", size=grid),
        join_norm=norm,
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes)),
    )  # fmt: skip


def get_config(arg="S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    if arg == "tiny":
        c.model = network(2, 48, 4, 12, 2, patch=4, tile=(3, 2, 1), grid=2, classes=10)
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        return c
    c.model = network(*SIZES[arg], patch=16, tile=(7, 4, 3), grid=14, classes=1000, drop_path=0.1)
    return c
