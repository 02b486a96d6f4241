"""AST: a vision transformer that reads a spectrogram as overlapping patches.

Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", 2021.

Reproduced: the network of section 2.1 for AudioSet's 527 classes, parameter for parameter, with class and distillation
tokens whose mean is read. Different from the paper: weights start anew, not from an image model's; one class per clip
with a softmax, where AudioSet has several; no mixup or masking. The data are spectrograms (.npy) of 1024 frames in 128
bands, normalised to mean 0 and deviation 0.5, which are not computed here.
Command: xfm train configs/audio/ast.py:base --workdir runs/ast --config.data.path=SPECTROGRAMS/train
Cost: 5 epochs of AudioSet.  Result: not run at scale.
`tiny` is for two CPU cores: six kinds of made sounds in noise, 35 seconds of processor time. Result of the tiny run:
all sounds held out are classified correctly after 60 steps.
"""

from ml_collections import ConfigDict

from xfm.configs.vision import vit

PAPER = "Gong et al. 2021, AST: Audio Spectrogram Transformer"
ORACLE = "transformers ASTForAudioClassification with copied weights (goldens); its number of parameters"
MARGIN = 1.2  # nats

# layers, width, heads
SIZES = {"base": (12, 768, 12)}
VARIANTS = ("tiny", *SIZES)
PARAMETERS = {"base": 86_594_063}


def network(layers, width, heads, patch, stride, time, bands, classes):
    """The spec of the network.  patch, stride: sides in bands and frames.  time, bands: of a spectrogram."""
    grid = tuple((side - patch) // stride + 1 for side in (bands, time))
    spec = vit.network(layers, width, heads, 1, grid, classes, "gelu", cls=2)
    position = dict(spec["embed"]["position"], size=grid, resize="bilinear")
    stem = dict(kind="conv", size=patch, stride=(stride, stride), margin=0)
    image = dict(kind="patches", stem=stem, cls=2, channels=1, position=position)
    spec["embed"] = dict(kind="spectrogram", width=width, image=image, time=time, bands=bands)
    spec["heads"]["label"]["pool"] = dict(kind="normed", pool=dict(kind="leading", count=2), norm=spec["norm"])
    return spec


def get_config(arg="base"):
    c = ConfigDict()
    c.model = network(*SIZES["base"], patch=16, stride=10, time=1024, bands=128, classes=527)
    c.objective = dict(kind="classification", classes=527)
    c.evals = [dict(kind="classes")]
    c.data = dict(kind="clips", array="frames", shape=[1024, 128], path="audioset/train", validation="audioset/eval")
    steps_per_epoch = 1_900_000 // 12
    c.batch, c.steps = 12, 5 * steps_per_epoch
    c.optimiser = dict(kind="adamw", b1=0.95, b2=0.999, weight_decay=5e-7)
    c.schedule = dict(kind="cosine", peak=1e-5, warmup=1000)
    c.log_every, c.eval_every, c.save_every = 50, steps_per_epoch, steps_per_epoch
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(2, 32, 4, patch=4, stride=3, time=16, bands=16, classes=6)
    c.objective.update(classes=6)
    c.data = dict(kind="clips", array="frames", shape=[16, 16], validation=0.2)
    c.batch, c.steps = 64, 60
    c.optimiser.update(b1=0.9, weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=6e-3, warmup=10)
    c.log_every, c.eval_every, c.save_every = 20, 30, 60
    return c
