"""SigLIP: towers of images and captions, trained by a sigmoid for each pair instead of a softmax over the batch.

Zhai, Mustafa, Kolesnikov, Beyer, "Sigmoid Loss for Language Image Pre-Training", 2023.

Reproduced: the networks of the published checkpoints, parameter for parameter, and the objective (algorithm 1) with its
first temperature of 10 and first bias of -10 (section 3.2). The batch of 32k pairs, the number of pairs and Adam's
coefficients are the paper's (section 4), from memory: check them before a long run. Different from the paper: Adam in
place of Adafactor, a warm-up that is not printed there, and for `So400m/14@384` images of 378 pixels, of which the
patches cover all, instead of 384.
Command: xfm train configs/vision/siglip.py:B/16 --workdir runs/siglip --config.data.path=FOLDER_WITH_METADATA
Cost: 40 billion pairs.  Result: not run at scale.
`tiny` is for two CPU cores: scikit-learn's digits with captions in six wordings. Result of the tiny run: 68.4 % of the
digits held out are nearest to the text of their own class (10 % by chance), after 150 steps and a minute of processor
time on a busy machine.
"""

from xfm.configs.text import clip_text
from xfm.configs.vision import clip, vit

PAPER = "Zhai et al. 2023, Sigmoid Loss for Language Image Pre-Training"
ORACLE = "transformers SiglipModel with copied weights (goldens) and its parameter counts; the loss in loops"
MARGIN = 0.8  # nats

# of both towers: layers, width, heads, hidden; patch and pixels of images
SIZES = {
    "B/16": (12, 768, 12, 3072, 16, 224),
    "L/16": (24, 1024, 16, 4096, 16, 256),
    "So400m/14": (27, 1152, 16, 4304, 14, 224),
    "So400m/14@384": (27, 1152, 16, 4304, 14, 384),
}
VARIANTS = ("tiny", *SIZES)
# Both towers, the scale and the bias, as counted in transformers.
PARAMETERS = {
    "B/16": 203_155_970, "L/16": 652_150_786, "So400m/14": 877_415_602, "So400m/14@384": 877_960_498,
}  # fmt: skip
VOCAB, LENGTH = 32_000, 64


def pictures(layers, width, heads, hidden, patch, size, eps=1e-6, activation="gelu_tanh"):
    """The spec of the image tower, without a class token: a learned query attends to the patches at the end."""
    spec = vit.network(layers, width, heads, patch, size, 0, activation, hidden, cls=0, eps=eps)
    ffn = dict(kind="mlp", hidden=hidden, activation=activation)
    pool = dict(kind="attention", heads=heads, ffn=ffn, norm=spec["norm"])
    return spec | dict(heads=dict(pooled=dict(kind="vector", pool=pool)))


def network(layers, width, heads, hidden, patch, size, vocab, length):
    """The spec of both towers, of one size."""
    text = clip_text.network(
        layers, width, heads, hidden, vocab, length, width, kind="siglip", activation="gelu_tanh", eps=1e-6
    )
    towers = dict(text=text, vision=pictures(layers, width, heads, hidden, patch, size))
    return dict(kind="towers", towers=towers, vectors=dict(text="pooled", vision="pooled"), scale=10.0, bias=-10.0)


def get_config(arg="B/16"):
    c = clip.get_config("tiny" if arg == "tiny" else "B/16")
    c.objective.form = "sigmoid"
    c.init = ()
    if arg == "tiny":
        c.model = network(2, 64, 4, 128, patch=2, size=8, vocab=128, length=12)
        c.model["towers"]["vision"]["embed"]["channels"] = 1
        c.model["bias"] = -4.0  # about -log(63), for batches of 64
        c.data.padding = "visible"
        return c
    c.model = network(*SIZES[arg], VOCAB, LENGTH)
    c.model["towers"]["vision"]["embed"]["channels"] = 3
    del c.data["mean"], c.data["std"]  # both are 0.5
    patch, side = SIZES[arg][-2:]
    c.data.update(
        size=side // patch * patch, length=LENGTH, padding="visible",
        tokenizer=dict(kind="checkpoint", source="google/siglip-base-patch16-224"),
    )  # fmt: skip
    c.batch, c.steps = 32_768, 40_000_000_000 // 32_768
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.95, weight_decay=1e-4)
    c.schedule = dict(kind="cosine", peak=1e-3, warmup=20_000)
    return c
