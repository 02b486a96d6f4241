"""MAE: a ViT that learns by predicting the pixels of three quarters of an image from the last quarter.

He, Chen, Xie, Li, Dollár, Girshick, "Masked Autoencoders Are Scalable Vision Learners", 2022.

Reproduced: the networks of pre-training, parameter for parameter, and its recipe (table 8): 800 epochs of table 3's
longest runs but one, normalised pixels, random crops and flips. The encoder computes visible patches only.
Command: xfm train configs/vision/mae.py:B --workdir runs/mae --config.data.path=IMAGENET/train
Cost: the authors trained L for 800 epochs in 42 hours on 128 TPU v3 cores.  Result: not run at scale.
`tiny` and `digits` are for two CPU cores and the digits of scikit-learn. `tiny`, 200 steps with patches of one pixel,
ends at a loss of 0.30 (one seed), where the mean pixel has 0.57 and the mean digit, for which no pixel need be seen,
0.29: it has learned positions alone, and its features are no better than random weights'.
`digits`, 2,000 steps with patches of 2 x 2, uses what is visible: a loss of 0.193 and 0.190 (seeds 0 and 1). With ten
labels a class, a linear probe of the mean of its tokens classifies 69.5 % and 63.8 % of the digits held out; with
random weights it is 43.9 %, 42.2 % and 42.2 % (three seeds). 3,000 steps (one seed, gradients not clipped) gave 0.174
and 78.3 %. The pixels themselves are better than either, about 90 %. 1,500 steps at a peak of 1e-2 ended at 0.27. A
normal distribution fitted to the training digits predicts hidden patches from visible ones with an error of 0.199.
"""

from ml_collections import ConfigDict

from xfm.augment import recipes
from xfm.configs.vision import vit

PAPER = "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners"
ORACLE = (
    "transformers ViTMAEForPreTraining with copied weights (goldens); its parameter counts; FLOPs against the ViT's"
)
MARGIN = 0.1  # of the mean squared error of pixels

# layers, width, heads, patch
SIZES = {"B": (12, 768, 12, 16), "L": (24, 1024, 16, 16), "H14": (32, 1280, 16, 14)}
VARIANTS = ("tiny", "digits", *SIZES)
# With both tables of positions, which are in the files and are not trained; as transformers counts.
PARAMETERS = {"B": 111_907_840, "L": 329_541_888, "H14": 657_074_508}


def network(layers, width, heads, patch, size, channels=3, depth=8, inner=512, inner_heads=16, eps=1e-6, **encoder):
    """The spec of encoder and decoder, with fixed sines and cosines as positions of both.

    depth, inner, inner_heads: layers, width and heads of the decoder.  encoder: further arguments of `vit.network`.
    """
    whole = vit.network(layers, width, heads, patch=patch, size=size, classes=0, activation="gelu", eps=eps, **encoder)
    grid = size // patch
    positions = dict(kind="learned_grid", size=grid, first=1, start="sines")
    whole["embed"] |= dict(position=positions, channels=channels)
    norm = dict(kind="layernorm", eps=eps)
    decoder = dict(
        embed=dict(kind="latents", patch=patch, width=inner, position=positions),
        pattern=[
            dict(kind="attention", heads=inner_heads),
            dict(kind="mlp", hidden=4 * inner, activation="gelu"),
        ],
        repeats=depth,
        norms={"in": norm},
        norm=norm,
        heads=dict(patches=dict(kind="values", width=patch * patch * channels)),
    )
    return {**whole, "kind": "autoencoder", "heads": {}, "decoder": decoder}


def decoder_size(inner, encoder, patch, out, depth, cls=1):
    """The number of a decoder's parameters, with its table of positions for 224 pixels.

    inner: its width.  encoder: that of the encoder.  out: the numbers predicted of a patch.
    """
    layer = 12 * inner**2 + 13 * inner
    ends = (encoder + 1) * inner + inner + 2 * inner + (inner + 1) * out
    return ends + ((224 // patch) ** 2 + cls) * inner + depth * layer


def get_config(arg="B"):
    c = ConfigDict()
    layers, width, heads, patch = SIZES.get(arg, SIZES["B"])
    c.model = network(layers, width, heads, patch, size=224)
    c.objective = dict(kind="masked_images", mask=dict(kind="random", rate=0.75))
    c.objective.target = dict(kind="pixels", scale="patch")
    c.evals = [dict(kind="reconstructions", patch=patch), dict(kind="linear_probe", features="cls")]
    c.freeze = [r"position/table$"]
    c.augment = dict(ops=recipes.mae())
    c.data = dict(kind="images", path="imagenet/train", size=224, stored=256, validation="imagenet/val")
    c.data.update(recipes.IMAGENET)
    steps_per_epoch = 1_281_167 // 4096
    c.batch, c.steps, c.clip = 4096, 800 * steps_per_epoch, None
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.95, weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=1.5e-4 * 4096 / 256, warmup=40 * steps_per_epoch)
    c.log_every, c.eval_every, c.save_every = 50, 10 * steps_per_epoch, 10 * steps_per_epoch
    if arg in ("tiny", "digits"):
        c = tiny(c)
    return digits(c) if arg == "digits" else c


def tiny(c):
    c.model = network(2, 64, 4, patch=1, size=8, channels=1, depth=1, inner=32, inner_heads=4)
    c.objective.target = dict(kind="pixels", scale="image")  # of a patch of one pixel nothing else is left
    c.data, c.augment = dict(kind="images", size=8, validation=0.2), None
    c.evals = [dict(kind="reconstructions", patch=1, scale="image"), dict(kind="linear_probe", features="cls")]
    c.batch, c.steps = 64, 200
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c


def digits(c):
    """Ten times as many steps as `tiny`, each of them cheaper, since a patch has four pixels."""
    c.model = network(2, 64, 4, patch=2, size=8, channels=1, depth=1, inner=32, inner_heads=4)
    c.evals = [dict(kind="reconstructions", patch=2, scale="image"), dict(kind="linear_probe", shots=10)]
    c.steps, c.clip = 2000, 1.0
    c.log_every, c.eval_every, c.save_every = 100, 1000, 1000
    return c
