"""DIET: a ViT that learns by predicting the number of the training image.

Balestriero, "Unsupervised Learning on a DIET: Datum IndEx as Target Free of Self-Supervision, Reconstruction, Projector
Head", 2023; Ibrahim, Klindt, Balestriero, "Occam's Razor for Self Supervised Learning: What is Sufficient to Learn Good
Representations?", 2024.

Reproduced: the method. Each training image is a class of its own, of which a linear map without a bias makes a score
from the encoder's vector; cross-entropy with labels that are smoothed by 0.8; no projector, no pairs and no teacher.
The smoothing and the rest of the recipe are from memory: check them before a long run. The networks are ViTs at 224
pixels; `imagenet_100` has the 126,689 images that are usual, and another number is set as config.objective.rows and
config.model.heads.row.rows. A large table is sharded over the mesh by config.sharding, as that of a vocabulary is.
Command: xfm train configs/vision/diet.py:tiny_imagenet --workdir runs/diet --config.data.of.path=TINY_IMAGENET/train
Cost: thousands of epochs in the paper.  Result: not run at scale.
`tiny` and `digits` are for two CPU cores and the digits of scikit-learn, cropped at random. The validation loss is that
of training images without crops, and accuracy that of a linear probe, with ten labels a class, of the mean of the
tokens of digits held out; in brackets that with random weights (three seeds). `tiny`, 200 steps on 349 images, ends at
4.72 nats, 1.14 below the logarithm of their number, with 56.9 % (47.8, 45.6 and 45.2 %). `digits`, 500 steps on 1,446
images, ends at 6.24 nats, 1.04 below, with 52.4 % (39.6, 34.8 and 35.0 %). One seed each.
"""

from xfm.augment import recipes
from xfm.configs.vision import vit

PAPER = "Ibrahim et al. 2024, Occam's Razor for Self Supervised Learning (DIET)"
ORACLE = "the loss by its formula in NumPy and by torch's cross_entropy; one row of the table for each training image"
MARGIN = 0.8  # nats

# size of the ViT, training images
SIZES = {"tiny_imagenet": ("B", 100_000), "imagenet_100": ("B", 126_689), "imagenet": ("B", 1_281_167)}
VARIANTS = ("tiny", "digits", *SIZES)
# ViT-B/16 without its head of 1000 classes, and a vector for each image.
PARAMETERS = {name: 85_798_656 + 768 * rows for name, (_, rows) in SIZES.items()}
DIGITS = {0.8: 349, 0.2: 1446}  # share of validation -> training images


def network(shape, patch, rows, size, pool="cls"):
    """The spec of a ViT with a score for each of `rows` training images.  shape: its name, or layers, width, heads."""
    layers, width, heads = vit.SIZES[shape] if isinstance(shape, str) else shape
    spec = vit.network(layers, width, heads, patch, classes=0, activation="gelu", size=size)
    return spec | dict(heads=dict(row=dict(kind="instances", rows=rows, pool=dict(kind=pool))))


def get_config(arg="tiny_imagenet"):
    c = vit.get_config("tiny" if arg in ("tiny", "digits") else "deit_S")
    c.evals, c.init, c.ema, c.clip = [dict(kind="linear_probe", features="cls")], [], None, None
    if arg in ("tiny", "digits"):
        return digits(c, arg)
    size, rows = SIZES[arg]
    c.model = network(size, 16, rows, size=224)
    c.model["embed"]["channels"] = 3
    c.objective = dict(kind="instance_discrimination", rows=rows, smoothing=0.8)
    c.augment = dict(ops=recipes.dino(local=0)["images"], **recipes.IMAGENET)
    images = dict(kind="images", path="imagenet/train", size=224, stored=256, validation="imagenet/val")
    c.data = dict(kind="numbered", of=dict(images, **recipes.IMAGENET))
    steps_per_epoch = rows // 256
    c.batch, c.steps, c.repeats = 256, 1000 * steps_per_epoch, 1
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=1e-3, warmup=10 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c


def digits(c, arg):
    """A few hundred images for `tiny`; for `digits` four fifths of them all, and more steps."""
    held = 0.8 if arg == "tiny" else 0.2
    rows = DIGITS[held]
    c.model = network((2, 64, 4), 2, rows, size=8, pool="mean")
    c.objective = dict(kind="instance_discrimination", rows=rows, smoothing=0.8)
    c.data = dict(kind="numbered", of=dict(kind="images", size=8, stored=9, validation=held))
    c.augment = dict(ops=[dict(kind="random_resized_crop", size=8, area=(0.7, 1.0))], mean=0.5, std=0.5)
    c.evals = [dict(kind="linear_probe", shots=10)]
    c.batch, c.steps, c.clip = 128, 200 if arg == "tiny" else 500, 1.0
    c.schedule = dict(kind="cosine", peak=3e-3, warmup=c.steps // 10)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
