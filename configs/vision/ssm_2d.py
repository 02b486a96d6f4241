"""2-D SSM: a vision transformer whose attention reads what a state space of two dimensions made of the patches.

Baron, Zimerman, Wolf, "2-D SSM: A General Spatial Layer for Visual Transformers", 2023.

Reproduced: `vit_cifar`, the ViT of the authors' program for images of 32 pixels, and `deit_T` and `deit_S`, with a
state space before each attention and, as in the program's option for it, without learned positions. Different from the
paper: queries, keys and values have biases, and the recipe is that of DeiT; Swin and Mega are not here.
Command: xfm train configs/vision/ssm_2d.py:deit_T --workdir runs/ssm_2d --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers on scikit-learn's digits, of whose held out ones 96.3 % are classified correctly
after 120 steps.
"""

from xfm.configs.vision import vit

PAPER = "Baron, Zimerman, Wolf 2023, 2-D SSM: A General Spatial Layer for Visual Transformers"
ORACLE = "the authors' layer with copied weights (golden), its recurrence; a closed formula of the parameters"
MARGIN = 1.2  # nats

# layers, width, heads, hidden width of the MLPs, patch, side of an image, systems, directions
SIZES = {
    "vit_cifar": (9, 192, 12, 384, 4, 32, 4, 2),
    "deit_T": (12, 192, 3, 768, 16, 224, 8, 4),
    "deit_S": (12, 384, 6, 1536, 16, 224, 8, 4),
}
CLASSES, STATES = {"vit_cifar": 100}, 16
VARIANTS = ("tiny", *SIZES)


def parameters(layers, width, hidden, patch, systems, directions, classes, states=STATES):
    """A ViT's without positions; and of each state space transitions, inputs, outputs, a skip and a norm."""
    layer = 4 * width**2 + 2 * width * hidden + 9 * width + hidden
    space = 6 * systems * states + 2 * directions * width * states + 3 * width
    return (3 * patch**2 + 2) * width + layers * (layer + space) + 2 * width + classes * (width + 1)


PARAMETERS = {
    name: parameters(layers, width, hidden, patch, systems, directions, CLASSES.get(name, 1000))
    for name, (layers, width, heads, hidden, patch, side, systems, directions) in SIZES.items()
}


def network(layers, width, heads, hidden, patch, size, systems, directions, classes, states=STATES, drop_path=0.0):
    """The spec of the pre-norm network.  systems, directions, states: of the state spaces."""
    spec = vit.network(layers, width, heads, patch, size, classes, "gelu", hidden=hidden, drop_path=drop_path)
    spec["embed"]["position"] = dict(kind="none")
    space = dict(kind="state_space_2d", states=states, systems=systems, directions=directions)
    spec["pattern"][0] = dict(kind="in_turn", mixers=[space, spec["pattern"][0]])
    return spec


def get_config(arg="deit_T"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(2, 48, 4, 96, 2, 8, 4, 4, classes=10, states=4)
        c.objective.update(mixup=0.0, smoothing=0.0)
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        return c
    size, classes = SIZES[arg][5], CLASSES.get(arg, 1000)
    c.model = network(*SIZES[arg], classes=classes, drop_path=0.1)
    c.model["embed"]["channels"] = 3
    c.objective.classes = classes
    c.data.update(size=size, stored=size * 8 // 7)
    return c
