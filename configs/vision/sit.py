"""SiT: a ViT that draws the corrupted parts of an image again and whose class token tells images apart.

Atito, Awais, Kittler, "SiT: Self-supervised vIsion Transformer", 2021.

Reproduced: pre-training as the authors' program has it, which is the paper's later version: corrupted groups of pixels
are drawn again, and the class token is contrasted with that of another view by a teacher that follows. The prediction
of rotations, which the first version has (from memory), is not in the program and not here. The recipe is the program's
for ImageNet with batches of 4 x 64 images. For small data sets the program's page raises the weight of the
reconstruction, as to 5 (`config.objective.weight`), and `tiny` does.
Different from the program: the last norm of the class token's MLP has a scale and a bias, each pixel of a patch has a
bias of its own, the teacher's batch norms use moving averages, the other image is the one before in the batch instead
of a random one, and weight decay stays at 0.04, where it rises to 0.1.
Command: xfm train configs/vision/sit.py:S --workdir runs/sit --config.data.path=IMAGENET/train
Cost: 800 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: 200 steps on the digits of scikit-learn, without crops, in 75 seconds of processor time.
Result of the tiny run (one seed): an absolute error of corrupted pixels of 0.398, where the median pixel has 0.612 and
the median digit, for which no pixel need be seen, 0.361: it has not learned to draw what is corrupted. A linear probe
of the class token classifies 83.8 % of the digits held out; with random weights it is 70.1 %, 70.9 % and 71.2 % (three
seeds). 600 steps (one seed) end at an error of 0.363, still that of the median digit, and a probe of 92.3 %.
"""

from xfm.configs.vision import vit

PAPER = "Atito et al. 2021, SiT: Self-supervised vIsion Transformer"
ORACLE = "the losses and the corruption by their description, written out; the authors' program's parameter counts"
MARGIN = 0.1  # of the mean absolute error of pixels

VARIANTS = ("tiny", "Ti", "S", "B")
# Those of the authors' program, the biases and scales that it lacks, and averages of batch norms.
MORE = 3 * 255 + 2 * 256 + 2 * (4096 + 4096 + 256)
PARAMETERS = {"Ti": 24_420_099 + MORE, "S": 41_827_587 + MORE, "B": 109_156_611 + MORE}


def network(layers, width, heads, patch, size, hidden=4096, vector=256, channels=3, drop_path=0.1):
    """The spec of the ViT, with an MLP over its class token and another one over its patches.

    hidden, vector: widths of the MLP over the class token.
    """
    spec = vit.network(layers, width, heads, patch, size, 0, "gelu", drop_path=drop_path)
    norm, pool = dict(kind="batchnorm"), dict(kind="cls")

    def layer(pool, width):
        dense = dict(kind="dense", pool=pool, width=width, activation="identity")
        return dict(kind="normed", pool=dense, norm=norm)

    for activation in ("relu", "gelu"):
        pool = dict(kind="activated", pool=layer(pool, hidden), activation=activation)
    pool = layer(pool, vector)
    drawn = dict(kind="pixels", stride=patch, channels=channels)
    for _ in range(3):
        drawn = dict(kind="dense", head=drawn)
    spec["embed"]["channels"] = channels
    return spec | dict(heads=dict(vector=dict(kind="vector", pool=pool), pixels=drawn))


def get_config(arg="S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.init, c.ema, c.clip, c.repeats = [], None, 3.0, 1
    c.objective, c.evals = dict(kind="corrupted_images"), [dict(kind="linear_probe", features="cls")]
    if arg == "tiny":
        return tiny(c)
    c.model = network(*vit.SIZES[arg], patch=16, size=224)
    c.init = [(r"(kernel|table|cls)$", dict(kind="normal", std=0.02))]
    jitter = dict(kind="colour_jitter", brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, chance=0.8)

    def view(blur, **solarize):
        crop = dict(kind="random_resized_crop", size=224, area=(0.2, 1.0))
        ops = [crop, dict(kind="flip"), jitter, dict(kind="grey", chance=0.2), dict(kind="blur", chance=blur)]
        return [*ops, *([dict(kind="solarize", **solarize)] if solarize else [])]

    c.augment = dict(views={"images": view(1.0), "global_1/images": view(0.1, chance=0.2)})
    steps_per_epoch = 1_281_167 // 256
    c.batch, c.steps = 256, 800 * steps_per_epoch
    c.objective["momentum"] = (0.996, 1.0, c.steps)
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.04)
    c.schedule = dict(kind="cosine", peak=5e-4, end=1e-6, warmup=10 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c


def tiny(c):
    c.model = network(2, 64, 4, 2, 8, hidden=64, vector=32, channels=1, drop_path=0.0)
    c.augment = None  # the views of a digit differ in what is corrupted
    c.objective.update(weight=5.0, largest=0.6, momentum=(0.98, 1.0, 200))
    c.batch, c.steps = 64, 200
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
