"""MaskAlign: a ViT that reads some patches of an image learns to have the features that a teacher has of all of it.

Xue, Gao, Li, Qiao, Sun, Li, Luo, "Stare at What You See: Masked Image Modeling without Reconstruction", 2023.

Reproduced: Dynamic Alignment, a learned mixture of all layers for each of the teacher's last five, and the recipe of
the authors' program for B with a teacher of the same size. Different from it: patches are hidden at random, where the
authors keep those to which the teacher's class token attends; and the norm after the last layer and the maps for layers
that are not aligned, which the program never trains, are not here.
Command: xfm train configs/vision/mask_align.py:B --workdir runs/student \
  --config.data.path=IMAGENET/train --config.objective.teacher.source=facebook/dino-vitb16
Cost: 200 epochs of ImageNet, and the teacher's forward pass of each image.  Result: not run at scale.
`tiny` is for two CPU cores; its teacher has random weights. Result of the tiny run: a
loss of 0.08 where zeros have 0.85; a linear probe of the mean of all tokens classifies 82.6 %.
"""

from xfm.configs.vision import mae, vit

PAPER = "Xue et al. 2023, MaskAlign: Stare at What You See: Masked Image Modeling without Reconstruction"
ORACLE = "the loss by its formula; no loss for a copy of the teacher that reads everything"
MARGIN = 0.4  # of the smooth distance of whitened features

VARIANTS = ("tiny", "B")
# The encoder with its table of positions, which is not trained; the alignment is beside it.
PARAMETERS = {"B": 85_797_120}


def network(layers, width, heads, patch, size, channels=3, drop_path=0.0):
    """The spec of MAE's encoder, which puts out every layer."""
    spec = mae.network(layers, width, heads, patch, size, channels, drop_path=drop_path)
    del spec["decoder"], spec["norm"]
    return {**spec, "kind": "stack", "taps": tuple(range(1, layers + 1))}


def get_config(arg="B"):
    c = mae.get_config("tiny" if arg == "tiny" else "B")
    c.evals = [dict(kind="linear_probe")]
    c.objective = dict(kind="mask_align", mask=dict(kind="random", rate=0.7))
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, channels=1)
        teacher = vit.network(2, 32, 4, patch=2, size=8, classes=10, activation="gelu") | dict(heads={})
        c.objective.update(teacher=dict(network=teacher), read=(1, 2), width=32)
        return c
    layers, width, heads, patch = mae.SIZES[arg]
    c.model = network(layers, width, heads, patch, 224, drop_path=0.1)
    teacher = vit.network(layers, width, heads, patch, 224, classes=0, activation="gelu", eps=1e-12) | dict(heads={})
    c.objective.update(teacher=dict(source=None, network=teacher), read=(8, 9, 10, 11, 12), width=width)
    c.batch = 1024
    steps_per_epoch = 1_281_167 // c.batch
    c.steps = 200 * steps_per_epoch
    c.schedule = dict(kind="cosine", peak=1.5e-4 * c.batch / 256, end=1e-5, warmup=20 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c
