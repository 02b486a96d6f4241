"""LeViT: a pyramid of batch-normed attention after a stem of convolutions, made to be fast.

Graham, El-Nouby, Touvron, Stock, Joulin, Jégou, Douze, "LeViT: a Vision Transformer in ConvNet's Clothing for Faster
Inference", 2021.

Reproduced: the five networks, parameter for parameter, each with a head for labels and one for a teacher, and the
recipe with the numbers of the authors' program (main.py): 1000 epochs, a learning rate of 5e-4 for 512 images, a weight
decay of 0.025, hard distillation, three views of an image. Different: the teacher, RegNetY-16GF, is not here, so that
any checkpoint or run that classifies the same classes will do; gradients are clipped by their whole norm and not by
that of each weight; 1024 images in a batch, of which the program does not say how many GPUs share them.
An image takes 0.314, 0.420, 0.679, 1.157 and 2.396 billion products here, and 0.305, 0.405, 0.657, 1.127 and 2.352 in
timm's networks: 1.9 to 3.7 % more, since the kernel of attention takes queries and keys as wide as values, and here
values are twice as wide, or between stages four times. So N heads of H numbers and U of values over T queries and S
keys take N·T·S·(U - H) products with zeros, and all other products are timm's to 0.2 %.
Command: xfm train configs/vision/levit.py:256 --workdir runs/levit \
  --config.data.path=IMAGENET/train --config.objective.teacher.source=runs/teacher
Cost: 1000 epochs of ImageNet, and the teacher's forward pass of each image.  Result: not run at scale.
`tiny` is for two CPU cores: two stages; its teacher has random weights, so that it shows only that both losses are
trained. Result of the tiny run of 150 steps: a validation loss of the head for labels of 0.12 nats, where the baseline
is 2.30.
"""

from xfm.configs.vision import deit_distilled

PAPER = "Graham et al. 2021, LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference"
ORACLE = "transformers LevitForImageClassificationWithTeacher with copied weights (goldens); timm's parameter counts"
MARGIN = 1.0  # nats

# widths, heads and layers of the stages, width of keys, rate of stochastic depth (the authors' levit.py)
SIZES = {
    "128S": ((128, 256, 384), (4, 6, 8), (2, 3, 4), 16, 0.0),
    "128": ((128, 256, 384), (4, 8, 12), (4, 4, 4), 16, 0.0),
    "192": ((192, 288, 384), (3, 5, 6), (4, 4, 4), 32, 0.0),
    "256": ((256, 384, 512), (4, 6, 8), (4, 4, 4), 32, 0.0),
    "384": ((384, 512, 768), (6, 9, 12), (4, 4, 4), 32, 0.1),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes and both heads, as timm counts them, and batch norms' moving averages, which it does not count.
PARAMETERS = {
    "128S": 7_777_058 + 39_648, "128": 9_213_936 + 48_608, "192": 10_947_069 + 55_376, "256": 18_893_876 + 73_152,
    "384": 39_128_836 + 106_400,
}  # fmt: skip
NORM = dict(kind="batchnorm", eps=1e-5)


def stem(width, stride=2, size=3):
    """The spec of the four convolutions, each twice as wide as the one before."""
    return dict(
        kind="convs", widths=(width // 8, width // 4, width // 2), strides=(stride,) * 4, size=size,
        activation="hard_swish", norm=NORM,
    )  # fmt: skip


def label(classes):
    """The spec of a classification head of the batch-normed mean."""
    return dict(kind="classification", classes=classes, pool=dict(kind="normed", pool=dict(kind="mean"), norm=NORM))


def network(stages, between, stem, side, heads, drop_path=0.0):
    """The spec of the pyramid.

    stages: (width, heads, layers, width of keys, ratio of the MLP, ratio of values to keys) of each.
    between: (width of keys, heads, ratio of values to keys, ratio of the MLP, stride) of the attention before each
    stage but the first.  side: rows and columns of the first stage's grid.  heads: by name.
    """
    residual, sides = dict(kind="plain", drop_path=drop_path), [side]
    for *_, stride in between:
        sides.append((sides[-1] - 1) // stride + 1)

    def position(i):
        return dict(kind="grid_distances", size=sides[i])

    def mlp(width, ratio):
        return dict(kind="normed_mlp", hidden=width * ratio, norm=NORM)

    def stage(i):
        width, count, layers, keys, ratio, times = stages[i]
        mixer = dict(
            kind="fused_attention", heads=count, width=keys, values=times * keys, norm=NORM, position=position(i)
        )
        made = dict(pattern=[mixer, mlp(width, ratio)], repeats=layers)
        if i == 0:
            return made
        keys, count, times, ratio, stride = between[i - 1]
        down = dict(
            kind="subsampled_attention", width=width, heads=count, keys=keys, values=times * keys, stride=stride,
            ffn=mlp(width, ratio), norm=NORM, position=position(i - 1), residual=residual,
        )  # fmt: skip
        return dict(down=down, **made)

    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=stages[0][0], cls=0),
        stages=[stage(i) for i in range(len(stages))],
        residual=residual,
        heads=heads,
    )


def get_config(arg="256"):
    c = deit_distilled.get_config("tiny" if arg == "tiny" else "S")
    if arg == "tiny":
        stages = [(32, 2, 1, 8, 2, 2), (48, 3, 1, 8, 2, 2)]
        heads = dict.fromkeys(("label", "distillation"), label(10))
        c.model = network(stages, [(8, 4, 4, 2, 2)], dict(stem(32), strides=(2, 1, 1, 1)), 4, heads)
        return c
    widths, counts, layers, keys, drop_path = SIZES[arg]
    stages = [(width, count, layer, keys, 2, 2) for width, count, layer in zip(widths, counts, layers, strict=True)]
    between = [(keys, width // keys, 4, 2, 2) for width in widths[:-1]]
    heads = dict.fromkeys(("label", "distillation"), label(1000))
    c.model = network(stages, between, stem(widths[0]), 14, heads, drop_path)
    c.model["embed"]["channels"] = 3
    c.steps = 1000 * (1_281_167 // c.batch)
    c.optimiser.update(weight_decay=0.025)
    c.schedule = dict(kind="cosine", peak=5e-4 * c.batch / 512, end=1e-5, warmup=5 * (1_281_167 // c.batch))
    c.clip, c.ema = 1.0, 0.99996
    return c
