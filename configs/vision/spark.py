"""SparK: masked image modelling by a convolutional network, to which the hidden patches of an image are padding.

Tian, Jiang, Diao, Lin, Wang, Yuan, "Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked
Modeling", 2023.

Reproduced: the networks of pre-training for ConvNeXt, parameter for parameter, and the recipe of the authors' program:
29 of 49 patches of 32 pixels hidden (60 %), normalised pixels, crops and flips, LAMB, 1,600 epochs. Sparse convolutions
are those that xfm has for rows with padding. Different from it: weight decay stays at 0.04, where the program raises it
to 0.2. Not here: ResNets, since our batch normalisation counts padding (that of the U-Net reads no padding).
Command: xfm train configs/vision/spark.py:S --workdir runs/spark --config.data.path=IMAGENET/train
Cost: 1,600 epochs of ImageNet, in which depthwise convolutions within segments are sums of shifted grids, slower on
accelerators than dense ones.  Result: not run at scale.
`tiny` is for two CPU cores: two stages with convolutions of 3 x 3 on the digits of scikit-learn, in 70 seconds of
processor time. Result of the tiny run (one seed): a loss of 0.245, where the mean pixel has 0.569 and the mean digit,
for which no pixel need be seen, 0.289. With ten labels a class, a linear probe of the mean of its tokens classifies
54.1 % of the digits held out; with random weights it is 50.1 %, 53.3 % and 50.1 % (three seeds), so that its features
are hardly better than those. 1,500 steps (one seed) end at a loss of 0.149 and a probe of 51.9 %: drawing is learned,
and the mean of the last stage's tokens does not tell digits apart better for it. Fine-tuning was not tried.
"""

from xfm.augment import recipes
from xfm.configs.vision import convnext, mae

PAPER = "Tian et al. 2023, SparK: Designing BERT for Convolutional Networks, Sparse and Hierarchical Masked Modeling"
ORACLE = "the authors' program with copied weights (goldens): features, image, loss and gradients; its parameter counts"
MARGIN = 0.3  # of the mean squared error of pixels

DROPS = {"S": 0.2, "B": 0.3, "L": 0.4}  # rates of stochastic depth, in the authors' program
VARIANTS = ("tiny", *DROPS)
# Trained ones, as the authors' program counts them, and averages of batch norms.
PARAMETERS = {"S": 74_383_083 + 4_464, "B": 113_863_595 + 4_464, "L": 224_083_755 + 4_464}
# Squares of 8 x 8 patches of the stem, of which the program hides 49 - round(0.4 · 49).
MASK = dict(kind="units", rate=29 / 49, unit=8)
OBJECTIVE = dict(
    kind="masked_images", shown="padding", mask=MASK, target=dict(kind="pixels", scale="patch", window=8)
)  # fmt: skip


def network(layers, widths, patch=4, doublings=5, width=768, channels=3, **encoder):
    """The spec of ConvNeXt, with a head that draws the image.

    patch: side of the stem's patches, in pixels.  doublings, width: of the head.  encoder: of `convnext.network`.
    """
    spec = convnext.network(layers, widths, patch=patch, **encoder)
    spec["embed"]["channels"] = channels
    spec["heads"] = dict(pixels=dict(kind="unet_pixels", doublings=doublings, width=width, channels=channels))
    return spec


def starts(widths, width=768, doublings=5):
    """The initial values of the program: of PyTorch for the maps' convolutions, of He et al. 2015 for the enlarging."""
    found = []
    for i, inside in enumerate(widths[::-1]):
        bound = (inside * (9 if i else 1)) ** -0.5
        if i or inside != width:
            found.append((rf"map_{i}/conv/(kernel|bias)$", dict(kind="uniform", low=-bound, high=bound)))
    for i in range(doublings):
        found.append((rf"up_{i}/kernel$", dict(kind="normal", std=(2 / (16 * (width // 2**i))) ** 0.5)))
    return [*found, (r"kernel$", dict(kind="normal", std=0.02))]


def get_config(arg="S"):
    c = mae.get_config("tiny" if arg == "tiny" else "B")
    c.freeze, c.objective = (), OBJECTIVE
    if arg == "tiny":
        c.model = network((1, 1), (32, 64), patch=1, doublings=1, width=32, channels=1, scale=None)
        for stage in c.model["stages"]:
            stage["pattern"][0]["size"] = 3  # of images of 8 x 8 pixels
        c.objective["mask"] = dict(MASK, unit=2)
        c.objective["target"] = dict(kind="pixels", scale="image")  # to compare with the mean image
        c.evals = [dict(kind="linear_probe", shots=10)]
        return c
    layers, widths, _ = convnext.SIZES[arg]
    c.model, c.init = network(layers, widths, drop_path=DROPS[arg]), starts(widths)
    c.evals = [dict(kind="linear_probe")]
    c.augment = dict(ops=recipes.inception(area=(0.67, 1.0), filter="bicubic"))
    steps_per_epoch = 1_281_167 // 4096
    c.batch, c.steps, c.clip = 4096, 1600 * steps_per_epoch, 5.0
    c.optimiser = dict(kind="lamb", b1=0.9, b2=0.999, weight_decay=0.04)
    peak = 2e-4 * 4096 / 256
    c.schedule = dict(kind="cosine", peak=peak, end=1e-3 * peak, warmup=40 * steps_per_epoch)
    return c
