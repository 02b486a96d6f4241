"""ViT: a transformer over image patches; and DeiT, a recipe that trains it on ImageNet alone.

Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", 2021, table 1;
Ti and S: Steiner et al., "How to train your ViT?", 2022, table 2; the `deit_` variants: Touvron et al., "Training
data-efficient image transformers & distillation through attention", 2021, table 9.

Reproduced: the networks and the ImageNet-1k recipes; DeiT's without the distillation token, and with
crops of images that are stored at 256 pixels instead of the files themselves.
Command: xfm train configs/vision/vit.py:deit_S --workdir runs/deit --config.data.path=IMAGENET/train
Cost: 300 epochs; DeiT-B took the authors 53 hours on 8 V100.  Result: not run at scale.
`tiny` is for two CPU cores: about a minute on scikit-learn's digits. Result of that run: 98.0 % of the digits held out
are classified correctly after 800 steps (98.9 % with seeds 1 and 2).
`…_h128` are variants of ours for TPUs, with half as many heads, of width 128 (H: 10 instead of 16 of width 80), whose
attention takes fewer cycles (benchmarks/README.md). They have the same number of parameters and FLOPs, but published
weights do not fit them.
"""

from ml_collections import ConfigDict

from xfm.augment import recipes

PAPER = "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words; Touvron et al. 2021, DeiT"
ORACLE = "transformers ViTForImageClassification with copied weights (goldens); published parameter counts"
MARGIN = 1.5  # nats

# layers, width, heads
SIZES = {"Ti": (12, 192, 3), "S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "H": (32, 1280, 16)}
DEIT = ("deit_Ti", "deit_S", "deit_B")
WIDE = tuple(f"{name}_h128" for name in ("S/16", "B/16", "L/16", "H/14", "deit_S", "deit_B"))
VARIANTS = ("tiny", *(f"{size}/{patch}" for size in SIZES for patch in (16, 32, 14)), *DEIT, *WIDE)
# With 1000 classes, for which DeiT prints 5M, 22M and 86M. Without the head, Steiner et al. print 5.5, 21.7, 85.8 and
# 303.3 million for /16, and Dosovitskiy et al. 86M and 632M for B/16 and H/14 (their 307M for L is not their code's
# L/16).
PARAMETERS = {
    "Ti/16": 5_717_416, "S/16": 22_050_664, "B/16": 86_567_656, "L/16": 304_326_632,
    "S/32": 22_878_952, "B/32": 88_224_232, "L/32": 306_535_400, "H/14": 632_045_800,
    "deit_Ti": 5_717_416, "deit_S": 22_050_664, "deit_B": 86_567_656,
}  # fmt: skip
PARAMETERS |= {name: PARAMETERS[name.removesuffix("_h128")] for name in WIDE}


def network(
    layers, width, heads, patch, size, classes, activation, hidden=None, cls=1, eps=1e-6, drop=0.0, drop_path=0.0
):
    """The spec of the pre-norm encoder with class tokens, learned positions and a classification head.

    patch, size: a side in pixels, or (rows, columns).  hidden: width of the MLP, four times the stream's if None.
    """
    norm = dict(kind="layernorm", eps=eps)
    (p, q), (rows, columns) = ((a, a) if isinstance(a, int) else a for a in (patch, size))
    grid = (rows // p, columns // q)
    position = dict(kind="learned_grid", size=grid[0] if grid[0] == grid[1] else grid, first=cls)
    return dict(
        kind="stack",
        embed=dict(kind="patches", patch=patch, width=width, cls=cls, position=position, drop=drop),
        pattern=[
            dict(kind="attention", heads=heads),
            dict(kind="mlp", hidden=hidden or 4 * width, activation=activation, drop=drop),
        ],
        repeats=layers,
        norms={"in": norm},
        residual=dict(kind="plain", drop=drop, drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes)),
    )


def get_config(arg="B/16"):
    name = arg.removesuffix("_h128")
    deit = name in DEIT
    size, patch = (name.removeprefix("deit_"), 16) if deit else name.split("/") if "/" in name else ("S", 16)
    layers, width, heads = SIZES[size]
    c = ConfigDict()
    c.model = network(
        layers, width, width // 128 if arg in WIDE else heads, patch=int(patch), size=224, classes=1000,
        activation="gelu" if deit else "gelu_tanh", drop=0.0 if deit else 0.1, drop_path=0.1 if deit else 0.0,
    )  # fmt: skip
    c.model["embed"]["channels"] = 3
    c.objective = dict(kind="classification", classes=1000)
    c.evals = [dict(kind="classes")]
    flip = dict(kind="flip")
    c.data = dict(kind="images", path="imagenet/train", size=224, augment=[flip], validation="imagenet/val")
    steps_per_epoch = 1_281_167 // (1024 if deit else 4096)
    c.steps = 300 * steps_per_epoch
    c.log_every, c.eval_every, c.save_every = 50, 5 * steps_per_epoch, 5 * steps_per_epoch
    if deit:
        c.init = [(r"(kernel|table|cls)$", dict(kind="truncated_normal", std=0.02))]
        c.objective.update(smoothing=0.1, mixup=0.8, cutmix=1.0)
        c.augment = dict(ops=recipes.deit())
        c.data.update(stored=256, augment=(), **recipes.IMAGENET)
        c.batch, c.clip, c.repeats = 1024, None, 3
        c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.05)
        c.schedule = dict(kind="cosine", peak=1e-3, end=1e-5, warmup=5 * steps_per_epoch)
        c.ema = 0.99996
    else:
        c.init = [(r"head_label/out/kernel$", dict(kind="constant", value=0.0))]
        c.batch, c.clip = 4096, 1.0
        c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.3)
        c.schedule = dict(kind="cosine", peak=3e-3, warmup=10_000)
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(2, 64, 4, patch=2, size=8, classes=10, activation="gelu_tanh", drop_path=0.1)
    c.objective.update(classes=10, smoothing=0.1, mixup=0.2)
    c.data = dict(kind="images", size=8, validation=0.2)
    c.batch, c.steps = 64, 800
    c.optimiser.update(weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=50)
    c.log_every, c.eval_every, c.save_every = 20, 100, 250
    return c
