"""PoolFormer: MetaFormer's pyramid with the simplest of mixers, a mean over neighbours.

Yu, Luo, Zhou, Si, Zhou, Wang, Feng, Yan, "MetaFormer Is Actually What You Need for Vision", 2022.

Reproduced: the five networks of table 1, parameter for parameter, and the ImageNet-1k recipe of section 4.1.
Command: xfm train configs/vision/poolformer.py:s12 --workdir runs/poolformer --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages, 35 seconds of processor time. Result of the tiny run: 98.9 % of scikit-learn's
digits held out are classified correctly after 200 steps.
"""

from xfm.configs.vision import vit

PAPER = "Yu et al. 2022, MetaFormer Is Actually What You Need for Vision"
ORACLE = "transformers PoolFormerForImageClassification with copied weights (goldens); parameters and GMACs of timm"
MARGIN = 1.5  # nats

# layers and widths of the stages, rate of stochastic depth, first value of LayerScale
SMALL, MEDIUM = (64, 128, 320, 512), (96, 192, 384, 768)
SIZES = {
    "s12": ((2, 2, 6, 2), SMALL, 0.1, 1e-5),
    "s24": ((4, 4, 12, 4), SMALL, 0.1, 1e-5),
    "s36": ((6, 6, 18, 6), SMALL, 0.2, 1e-6),
    "m36": ((6, 6, 18, 6), MEDIUM, 0.3, 1e-6),
    "m48": ((8, 8, 24, 8), MEDIUM, 0.4, 1e-6),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as timm counts them.
PARAMETERS = {"s12": 11_915_176, "s24": 21_388_968, "s36": 30_862_760, "m36": 56_172_520, "m48": 73_473_448}
# Of one image of 224 x 224 pixels, forward, in billions of products, as timm's networks are counted.
GMACS = {"s12": 1.81, "s24": 3.39, "s36": 4.97, "m36": 8.76, "m48": 11.53}
PATCHES = ((7, 4, 2), (3, 2, 1), (3, 2, 1), (3, 2, 1))  # (size, stride, margin) of the patches of each stage


def network(layers, widths, hidden=4.0, patches=PATCHES, pool=3, scale=1e-5, classes=1000, activation="gelu",
            drop_path=0.0):  # fmt: skip
    """The spec of the pyramid.

    hidden: width of the MLPs as a multiple of the stream's.  pool: rows and columns of a token's neighbours.  scale:
    the first value of LayerScale, None for none.
    """
    norm = dict(kind="groupnorm", groups=1, eps=1e-5)
    cut = [dict(size=size, stride=stride, margin=margin) for size, stride, margin in patches]

    def stage(i):
        mlp = dict(kind="mlp", hidden=int(widths[i] * hidden), activation=activation)
        down = dict(kind="strided_conv", width=widths[i], **cut[i], rest="drop")
        return dict(down=down if i else None, pattern=[dict(kind="pooling", size=pool), mlp], repeats=layers[i])

    scaled = dict(kind="plain") if scale is None else dict(kind="scaled", gate=scale, learn="channel")
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=dict(kind="conv", **cut[0]), width=widths[0], cls=0),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=dict(scaled, drop_path=drop_path),
        heads=dict(label=dict(kind="classification", classes=classes, pool=pooled(norm))),
    )


def pooled(norm):
    """The spec of the head's pool: the mean of the normed stream."""
    return dict(kind="normed", first="norm", norm=norm, pool=dict(kind="mean"))


def get_config(arg="s12"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    if arg == "tiny":
        c.model = network((1, 2), (32, 64), patches=((3, 1, 1), (3, 2, 1)), scale=None, classes=10)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, widths, drop_path, scale = SIZES[arg]
    c.model = network(layers, widths, scale=scale, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    return c
