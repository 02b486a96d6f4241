"""PatchConvNet: residual convolutions at one resolution, and a class token that attends to all of it at the end.

Touvron, Cord, El-Nouby, Bojanowski, Joulin, Synnaeve, Verbeek, Jégou, "Augmenting Convolutional networks with
attention-based aggregation", 2021.

Reproduced: the networks of table 3; the recipe is DeiT's, where the paper has a longer one with LAMB.
Command: xfm train configs/vision/patch_convnet.py:S60 --workdir runs/patch --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers on scikit-learn's digits; the tiny run reads 92 % of the validation's right.
"""

from xfm.configs.vision import vit

PAPER = "Touvron et al. 2021, Augmenting Convolutional networks with attention-based aggregation"
ORACLE = "a PyTorch model of the paper with copied weights (goldens); published parameter counts"
MARGIN = 1.5  # nats

# layers, width, start of LayerScale
SIZES = {
    "S60": (60, 384, 1e-4),
    "S120": (120, 384, 1e-6),
    "B60": (60, 768, 1e-6),
    "B120": (120, 768, 1e-6),
    "L60": (60, 1024, 1e-6),
    "L120": (120, 1024, 1e-6),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes; the paper prints 25.2M, 47.7M, 99.4M, 188.6M and 334.3M (all but L60).
PARAMETERS = {
    "S60": 25_231_096, "S120": 47_723_896, "B60": 99_388_936, "B120": 188_611_336, "L60": 176_009_576,
    "L120": 334_294_376,
}  # fmt: skip
GMACS = {"S60": 4.0, "B60": 15.8}  # as the paper prints


def network(layers, width, strides, classes, start=1e-4, ratio=3, drop_path=0.0):
    """The spec of the network.

    strides: of the stem's convolutions, whose widths double up to the last one's.  ratio: hidden width of the pool's
    MLP over the width.
    """
    norm = dict(kind="layernorm", eps=1e-6)
    widths = tuple(width // 2**i for i in range(len(strides) - 1, 0, -1))
    pool = dict(kind="class_attention", heads=1, ffn=dict(kind="mlp", hidden=ratio * width), norm=norm, start=start)
    return dict(
        kind="stack",
        embed=dict(kind="patches", width=width, cls=0, stem=dict(kind="convs", widths=widths, strides=strides)),
        pattern=[dict(kind="conv_gate", inner=width // 4)],
        repeats=layers,
        norms={"in": norm},
        residual=dict(kind="scaled", gate=start, learn="channel", drop_path=drop_path),
        heads=dict(label=dict(kind="classification", classes=classes, pool=pool)),
    )


def get_config(arg="S60"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(2, 48, (1, 2), classes=10, start=0.3)
        c.steps, c.schedule = 100, dict(kind="cosine", peak=4e-3, warmup=10)
        return c
    layers, width, start = SIZES[arg]
    c.model = network(layers, width, (2, 2, 2, 2), 1000, start, drop_path=0.05 if width == 384 else 0.2)
    return c
