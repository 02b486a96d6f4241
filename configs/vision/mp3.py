"""MP3: a ViT without positions learns to say at which position each patch of an image is.

Zhai, Jaitly, Ramapuram, Busbridge, Likhomanenko, Cheng, Talbott, Huang, Goh, Susskind, "Position Prediction as an
Effective Pretraining Strategy", 2022.

Reproduced: the objective for images, with a linear head of as many classes as patches and keys of a random context
alone. The paper's recipe could not be looked up: the share outside the context is from memory, and the rest is MAE's
for 100 epochs; check both before a long run. Not here: speech.
Command: xfm train configs/vision/mp3.py:B --workdir runs/mp3 --config.data.path=IMAGENET/train
Cost: not known.  Result: not run at scale.
`tiny` is for two CPU cores: 200 steps on the digits of scikit-learn, whose 16 patches are 2 x 2 pixels.
Result of the tiny run: 1.79 nats where all positions alike have 2.77, and 33 % of the patches right.
"""

from xfm.configs.vision import mae, vit

PAPER = "Zhai et al. 2022, MP3: Position Prediction as an Effective Pretraining Strategy"
ORACLE = (
    "the loss by its formula, permutations of the patches, and ln N at the start; timm's parameter count of the trunk"
)
MARGIN = 0.6  # nats

VARIANTS = ("tiny", "B")
PARAMETERS = {"B": 85_797_316}


def network(layers, width, heads, patch, size, channels=3):
    """The spec of the ViT without class token and positions, with a head at each patch."""
    spec = vit.network(layers, width, heads, patch, size, classes=0, activation="gelu", cls=0)
    spec["embed"] |= dict(position=dict(kind="none"), channels=channels)
    return spec | dict(heads=dict(positions=dict(kind="tagging", classes=(size // patch) ** 2)))


def get_config(arg="B"):
    c = mae.get_config("tiny" if arg == "tiny" else "B")
    c.evals, c.freeze = [dict(kind="linear_probe")], ()
    c.objective = dict(kind="position_prediction", mask=dict(kind="random", rate=0.75))
    c.init = [(r"kernel$", dict(kind="truncated_normal", std=0.02))]
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, channels=1)
        c.objective["mask"]["rate"] = 0.25
        return c
    layers, width, heads, patch = mae.SIZES[arg]
    c.model = network(layers, width, heads, patch, 224)
    c.steps = 100 * (1_281_167 // c.batch)
    return c
