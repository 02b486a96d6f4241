"""DINO: a ViT that predicts its own moving average's view of another crop; and DINOv2's losses with crops alone.

Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin, "Emerging Properties in Self-Supervised Vision Transformers",
2021; the `crops_` variants: Moutakanni, Oquab, Szafraniec, Vakalopoulou, Bojanowski, "You Don't Need Domain-Specific
Data Augmentations When Scaling Self-Supervised Learning", 2024, with the losses of Oquab et al. (DINOv2, 2024).

Reproduced: networks, heads, views and losses (DINO: section 3.1 and appendix; DINOv2: section 4). Different from the
papers: weight decay is constant, the last layer is not frozen in the first epoch, registers are left out.
Command: xfm train configs/vision/dino.py:S16 --workdir runs/dino --config.data.path=IMAGENET/train
Cost: S16 for 100 epochs took the authors 1.75 days on 16 GPUs with 10 crops.  Result: not run at scale.
`tiny` and `digits` are for two CPU cores and the digits of scikit-learn. `tiny`, 150 steps: 3.83 nats, 0.33 below the
uniform baseline, with 55 of 64 prototypes in use; its features are no better than random weights'. `digits`, 1,000
steps with the losses of the `crops_` variants: 3.66 and 3.58 nats (seeds 0 and 1) with 63 and 62 prototypes in use. The
vote of the nearest rows by the class token is right for 75.5 % and 74.1 % of the digits held out, with random weights
for 58.7 %, 52.4 % and 57.8 % (three seeds). A linear probe of ten labels a class gains little: 39.6 % (seed 1), where
random weights have 33.6 %, 35.0 % and 34.2 %. With DINO's own loss, as many steps and crops of 40 % of the image or
more, the nearest rows were right for 58.7 % (one seed).
"""

from xfm.augment import recipes
from xfm.configs.vision import vit

PAPER = "Caron et al. 2021, DINO; Moutakanni et al. 2024, You Don't Need Data-Augmentation in Self-Supervised Learning"
ORACLE = (
    "the losses by their published formulas and DINOv2's Sinkhorn algorithm; parameter counts of the ViT and the head"
)
MARGIN = 0.2  # nats

# size of the ViT, patch
SIZES = {"S16": ("S", 16), "B16": ("B", 16), "crops_B16": ("B", 16), "crops_L16": ("L", 16)}
VARIANTS = ("tiny", "digits", *SIZES)


def head_size(width, prototypes=65_536, hidden=2048, bottleneck=256):
    """The number of a head's parameters."""
    layers = (width, hidden, hidden, bottleneck)
    return sum((a + 1) * b for a, b in zip(layers[:-1], layers[1:], strict=True)) + bottleneck * prototypes


# Without its head of 1000 classes the ViT has 21,665,664 and 85,798,656 parameters.
PARAMETERS = {"S16": 21_665_664 + head_size(384), "B16": 85_798_656 + head_size(768)}


def network(layers, width, heads, patch, size, prototypes, hidden=2048, bottleneck=256, patches=False, drop_path=0.1):
    """The spec of the ViT with a head of prototypes for the class token, and for patches where these are compared."""
    spec = vit.network(layers, width, heads, patch, size, 0, "gelu", drop_path=drop_path)
    head = dict(kind="prototypes", prototypes=prototypes, hidden=hidden, bottleneck=bottleneck)
    spec["embed"] |= dict(channels=3, mask="token" if patches else None)
    return spec | dict(heads=dict(prototypes=head, **(dict(patches=dict(head, pool=None)) if patches else {})))


def crops(local=8, size=224, small=96):
    """Views that are parts of the image, pixel by pixel."""
    views = {"images": size, "global_1/images": size, **{f"local_{i}/images": small for i in range(local)}}
    return {name: [dict(kind="window", size=side)] for name, side in views.items()}


def get_config(arg="S16"):
    c = vit.get_config("tiny" if arg in ("tiny", "digits") else "deit_S")
    c.objective, c.evals = dict(kind="self_distillation"), [dict(kind="nearest_rows", features="cls")]
    c.init, c.ema, c.clip = [], None, 3.0
    if arg in ("tiny", "digits"):
        return tiny(c) if arg == "tiny" else digits(tiny(c))
    name, patch = SIZES[arg]
    alone = arg.startswith("crops_")
    c.model = network(*vit.SIZES[name], patch, 224, 131_072 if alone else 65_536, patches=alone)
    steps = 1_281_167 // 1024
    c.repeats, c.steps = 1, 100 * steps
    c.augment = dict(views=crops() if alone else recipes.dino())
    c.data["stored"] = 512 if alone else 256
    c.objective["temperatures"] = (0.1, 0.04, 0.07, 30 * steps)
    c.objective["momentum"] = (0.992 if alone else 0.996, 1.0, c.steps)
    if alone:
        c.objective.update(patches=1.0, koleo=0.1, centring="sinkhorn")
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.04)
    c.schedule = dict(kind="cosine", peak=5e-4 * 1024 / 256, end=1e-6, warmup=10 * steps)
    c.eval_every = c.save_every = 5 * steps
    return c


def tiny(c):
    c.model = network(2, 64, 4, 2, 8, prototypes=64, hidden=64, bottleneck=32, drop_path=0.0)
    c.model["embed"]["channels"] = None
    large = [dict(kind="random_resized_crop", size=8, area=(0.6, 1.0), filter="bilinear")]
    small = [dict(kind="random_resized_crop", size=4, area=(0.3, 0.6), filter="bilinear")]
    c.augment = dict(
        views={"images": large, "global_1/images": large, "local_0/images": small, "local_1/images": small}
    )
    c.objective.update(temperatures=(0.1, 0.04, 0.04, 1), momentum=(0.98, 1.0, 150), grace=50)
    c.batch, c.steps = 64, 150
    c.schedule = dict(kind="cosine", peak=2e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 25, 75, 150
    return c


def digits(c):
    """With the losses of the `crops_` variants, two large views and no small ones, and 1,000 steps."""
    c.model = network(2, 64, 4, 2, 8, prototypes=64, hidden=64, bottleneck=32, patches=True, drop_path=0.0)
    c.model["embed"]["channels"] = None
    c.evals = [dict(kind="linear_probe", features="cls", shots=10), dict(kind="nearest_rows", features="cls")]
    c.augment = dict(views={name: c.augment["views"][name] for name in ("images", "global_1/images")})
    c.steps = 1000
    c.objective.update(patches=1.0, koleo=0.1, centring="sinkhorn", momentum=(0.99, 1.0, c.steps))
    c.schedule = dict(kind="cosine", peak=2e-3, warmup=100)
    c.log_every, c.eval_every, c.save_every = 100, 500, 500
    return c
