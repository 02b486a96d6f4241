"""MLP-Mixer: patches mixed by an MLP over tokens and one over channels, without attention and convolutions.

Tolstikhin, Houlsby, Kolesnikov, Beyer, Zhai, Unterthiner, Yung, Steiner, Keysers, Uszkoreit, Lucic, Dosovitskiy,
"MLP-Mixer: An all-MLP Architecture for Vision", 2021.

Reproduced: the networks of table 1 with patches of 16 and 32, parameter for parameter. The paper pre-trains on larger
data (appendix B); the recipe here is ViT's for ImageNet-1k.
Command: xfm train configs/vision/mixer.py:B/16 --workdir runs/mixer --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: three layers, 40 seconds of processor time. Result of the tiny run: 93.7 % of the
digits of scikit-learn that are held out are classified correctly after 200 steps.
"""

from xfm.configs.vision import vit

PAPER = "Tolstikhin et al. 2021, MLP-Mixer: An all-MLP Architecture for Vision"
ORACLE = "timm mixer_b16_224 with copied weights (a golden of a small one); parameters and GMACs of timm"
MARGIN = 1.5  # nats

# layers, width, hidden width of the MLP over tokens and of the one over channels (table 1)
SIZES = {"S": (8, 512, 256, 2048), "B": (12, 768, 384, 3072), "L": (24, 1024, 512, 4096)}
VARIANTS = ("tiny", *(f"{size}/{patch}" for size in SIZES for patch in (16, 32)))
# With 1000 classes, as timm counts them.
PARAMETERS = {
    "S/16": 18_528_264, "B/16": 59_880_472, "L/16": 208_196_168,
    "S/32": 19_104_624, "B/32": 60_293_428, "L/32": 206_939_264,
}  # fmt: skip
# Of one image of 224 x 224 pixels, forward, in billions of products, as timm's networks are counted.
GMACS = {"B/16": 12.60, "L/16": 44.55}


def network(layers, width, tokens, channels, patch, classes, eps=1e-6, drop=0.0, drop_path=0.0):
    """The spec of the network.  tokens, channels: hidden widths of the two MLPs."""
    norm = dict(kind="layernorm", eps=eps)
    return dict(
        kind="stack",
        embed=dict(kind="patches", patch=patch, width=width, cls=0),
        pattern=[dict(kind="token_mlp", hidden=tokens, drop=drop), dict(kind="mlp", hidden=channels, drop=drop)],
        repeats=layers,
        norms={"in": norm},
        residual=dict(kind="plain", drop=drop, drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )


def get_config(arg="B/16"):
    c = vit.get_config("tiny" if arg == "tiny" else "B/16")
    if arg == "tiny":
        c.model = network(3, 64, 32, 128, patch=1, classes=10)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    size, patch = arg.split("/")
    c.model = network(*SIZES[size], patch=int(patch), classes=1000, drop_path=0.1)
    c.model["embed"]["channels"] = 3
    return c
