"""CRATE: a transformer whose every layer is a step of optimising the sparse rate reduction of its tokens.

Yu, Buchanan, Pai, Chu, Wu, Tong, Haeffele, Ma, "White-Box Transformers via Sparse Rate Reduction: Compression Is All
There Is?", 2023, sections 2 and 3.

Reproduced: the networks of table 1; from memory, the ImageNet-1k recipe of section 3.2 with AdamW in the place of Lion.
Command: xfm train configs/vision/crate.py:base --workdir runs/crate --config.data.path=IMAGENET/train
Cost: 150 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers on scikit-learn's digits; the tiny run reads 81 % of the validation's right.
"""

from xfm.configs.vision import vit

PAPER = "Yu et al. 2023, White-Box Transformers via Sparse Rate Reduction: Compression Is All There Is?"
ORACLE = "a PyTorch model of the paper's equations with copied weights (goldens); published parameter counts"
MARGIN = 1.2  # nats

# layers, width, heads
SIZES = {"tiny_384": (12, 384, 6), "small": (12, 576, 12), "base": (12, 768, 12), "large": (24, 1024, 16)}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes; the paper prints 6.09M, 13.12M, 22.80M and 77.64M. Its CRATE-Tiny is `tiny_384` here.
PARAMETERS = {"tiny_384": 6_090_856, "small": 13_116_328, "base": 22_796_008, "large": 77_641_192}


def network(layers, width, heads, patch, size, classes):
    """The spec of the network; a layer's second half answers a sparse code, which takes the place of the stream."""
    norm = dict(kind="layernorm", eps=1e-5)
    stem = dict(kind="normed_patches", patch=patch, in_norm=norm, out_norm=norm)
    position = dict(kind="learned_grid", size=size // patch)
    return dict(
        kind="stack",
        embed=dict(kind="patches", stem=stem, width=width, cls=1, position=position),
        pattern=[
            dict(kind="subspace_attention", heads=heads),
            dict(part=dict(kind="ista", step=0.1, sparsity=0.1), residual=dict(kind="scaled", skip=0.0)),
        ],
        repeats=layers,
        norms={"in": norm},
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes)),
    )


def get_config(arg="base"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, classes=10)
        c.steps, c.schedule = 200, dict(kind="cosine", peak=1e-2, warmup=20)
        c.objective.update(mixup=0.0)
        return c
    c.model = network(*SIZES[arg], patch=16, size=224, classes=1000)
    c.init = [(r"embed/(cls|position/table)$", dict(kind="normal", std=1.0))]
    c.objective.update(mixup=0.0, cutmix=0.0)
    epoch = 1_281_167 // 2048
    c.batch, c.steps = 2048, 150 * epoch
    c.schedule = dict(kind="cosine", peak=4e-4, warmup=5 * epoch)
    c.optimiser.update(weight_decay=0.5)
    c.ema = None
    return c
