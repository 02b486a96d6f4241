"""T2T-ViT: a deep and narrow ViT over tokens that overlapping tiles make of an image, step by step.

Yuan, Chen, Wang, Yu, Shi, Jiang, Tay, Feng, Yan, "Tokens-to-Token ViT: Training Vision Transformers from Scratch on
ImageNet", 2021.

Reproduced: the networks of table 1, with linear attention (Performer) in the stem as in table 2, and `t_14` to `t_24`
with softmax attention there; from memory, the ImageNet-1k recipe of section 4.1, without
MixToken. The random features of the Performer are drawn once and frozen.
Command: xfm train configs/vision/t2t_vit.py:14 --workdir runs/t2t --config.data.path=IMAGENET/train
Cost: 310 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers on scikit-learn's digits; the tiny run reads 98.6 % of the validation's right.
"""

from xfm.configs.vision import vit

PAPER = "Yuan et al. 2021, Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet"
ORACLE = "a PyTorch model of the paper's formulas, with torch.nn.Unfold (goldens); published parameter counts"
MARGIN = 1.5  # nats

# layers, width, heads, hidden width of the MLP over the width
SIZES = {
    "7": (7, 256, 4, 2),
    "10": (10, 256, 4, 2),
    "12": (12, 256, 4, 2),
    "14": (14, 384, 6, 3),
    "19": (19, 448, 7, 3),
    "24": (24, 512, 8, 3),
}
WITH_SOFTMAX = ("t_14", "t_19", "t_24")
VARIANTS = ("tiny", *SIZES, *WITH_SOFTMAX)
# With 1000 classes. The authors also count the table of sines, 197 rows, which makes 4.3, 5.9, 6.9, 21.5, 39.2 and 64.1
# million.
PARAMETERS = {
    "7": 4_259_790, "10": 5_838_798, "12": 6_891_470, "14": 21_469_902, "19": 39_089_166, "24": 64_005_070,
    "t_14": 21_465_422, "t_19": 39_084_686, "t_24": 64_000_590,
}  # fmt: skip
GMACS = {"14": 4.8, "t_14": 6.1}  # as the authors print


def network(layers, width, heads, ratio, splits, classes, inner=64, encoder="performer", drop_path=0.0):
    """The spec of the pre-norm encoder over the tokens of the stem.

    splits: (size, stride, margin) of each step's tiles.  inner: the width of the stem's layers.
    """
    norm = dict(kind="layernorm", eps=1e-5)
    stem = dict(kind="tokens_to_token", splits=splits, inner=inner, encoder=encoder, norm=norm)
    return dict(
        kind="stack",
        embed=dict(
            kind="patches", width=width, stem=stem, cls=1, position=dict(kind="sinusoidal", channels="interleaved")
        ),
        pattern=[
            dict(kind="attention", heads=heads, bias=("o",)),
            dict(kind="mlp", hidden=ratio * width),
        ],
        repeats=layers,
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes)),
    )


def get_config(arg="14"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    c.freeze = ["features$"]
    if arg == "tiny":
        c.model = network(2, 64, 4, 2, ((3, 2, 1), (3, 1, 1)), classes=10, inner=16, drop_path=0.1)
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        return c
    layers, width, heads, ratio = SIZES[arg.removeprefix("t_")]
    splits, softmax = ((7, 4, 2), (3, 2, 1), (3, 2, 1)), arg in WITH_SOFTMAX
    c.model = network(
        layers, width, heads, ratio, splits, classes=1000, encoder="transformer" if softmax else "performer",
        drop_path=0.1,
    )  # fmt: skip
    if softmax:
        c.freeze = []
    c.init = [(r"(kernel|cls)$", dict(kind="truncated_normal", std=0.02))]
    epoch = 1_281_167 // c.batch
    c.steps, c.schedule = 310 * epoch, dict(kind="cosine", peak=1e-3, end=1e-5, warmup=10 * epoch)
    c.optimiser.update(weight_decay=0.05 if width > 400 else 0.03)
    return c
