"""SLAB: layer normalisation that turns into batch normalisation during training, and linear attention with a ReLU.

Guo, Chen, Tang, Wang, "SLAB: Efficient Transformers with Simplified Linear Attention and Progressive Re-parameterized
Batch Normalization", 2024, sections 3.2 and 3.3.

Reproduced: `deit_T`, `deit_S` (DeiT with the norm alone) and `slab_T`, `slab_S` (with the attention too), without class
tokens as in the authors' program; Swin, PVT and language models are not here. The recipe is DeiT's.
Command: xfm train configs/vision/slab.py:slab_S --workdir runs/slab --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers on scikit-learn's digits; the tiny run reads 99 % of the validation's right.
"""

from xfm.configs.vision import vit

PAPER = "Guo et al. 2024, SLAB: Simplified Linear Attention and Progressive Re-parameterized Batch Normalization"
ORACLE = "identities of the norm and of the attention (tests/parts/test_slab.py); a closed formula of the parameters"
MARGIN = 1.2  # nats

SIZES = {"T": (12, 192, 3), "S": (12, 384, 6)}  # layers, width, heads
VARIANTS = ("tiny", *(f"{kind}_{size}" for kind in ("deit", "slab") for size in SIZES))


def parameters(layers, width, heads, linear):
    """ViT's with 1000 classes and 196 positions; 25 norms of six numbers a channel, a skip and a share.

    Linear attention adds positions of the keys and a convolution of 5 x 5, which the heads share.
    """
    H, norms = width // heads, 2 * layers + 1
    layer = 12 * width**2 + 9 * width + (196 * width + 26 * H if linear else 0)
    embed, head = (768 + 1 + 196) * width, 1000 * (width + 1)
    return embed + layers * layer + norms * (6 * width + 2) + head


def network(layers, width, heads, patch, size, classes, steps, linear, drop_path=0.0):
    """The spec of the pre-norm network.

    steps: updates until the norms are batch normalisation.  linear: whether attention is linear.
    """
    norm, grid = dict(kind="progressive", steps=steps), size // patch
    spec = vit.network(layers, width, heads, patch, size, classes, "gelu", cls=0, drop_path=drop_path)
    if linear:
        position = dict(kind="learned_grid", size=grid, first=0)
        spec["pattern"][0] = dict(kind="relu_attention", heads=heads, position=position)
    pool = dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean")))
    return spec | dict(norms={"in": norm}, norm=norm, heads=pool)


PARAMETERS = {
    f"{kind}_{size}": parameters(*SIZES[size], linear=kind == "slab") for kind in ("deit", "slab") for size in SIZES
}


def get_config(arg="slab_S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, classes=10, steps=60, linear=True)
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        c.objective.update(mixup=0.0)
        return c
    kind, size = arg.split("_")
    c.model = network(*SIZES[size], 16, 224, 1000, steps=c.steps * 3 // 4, linear=kind == "slab", drop_path=0.1)
    return c
