"""ConvNeXt: a pyramid of depthwise 7 x 7 convolutions and inverted bottlenecks, built like Swin; and ConvNeXt V2.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", 2022; Woo, Debnath, Hu, Chen, Liu, Kweon, Xie,
"ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", 2023 (variants `v2_…`).

Reproduced: the networks of section 3 and of V2's appendix A, parameter for parameter, and the first paper's ImageNet-1k
recipe (appendix A.1, from memory: check it before a long run); V2's masked pre-training is not.
Command: xfm train configs/vision/convnext.py:T --workdir runs/convnext --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages of V2, 50 seconds of processor time. Result of the tiny run: 96.0 % of the
digits of scikit-learn that are held out are classified correctly after 120 steps.
"""

from xfm.configs.vision import vit

PAPER = "Liu et al. 2022, A ConvNet for the 2020s; Woo et al. 2023, ConvNeXt V2"
ORACLE = "transformers ConvNextForImageClassification and ConvNextV2… with copied weights (goldens); timm's counts"
MARGIN = 1.5  # nats

# layers and widths of the stages, rate of stochastic depth
SIZES = {
    "T": ((3, 3, 9, 3), (96, 192, 384, 768), 0.1),
    "S": ((3, 3, 27, 3), (96, 192, 384, 768), 0.4),
    "B": ((3, 3, 27, 3), (128, 256, 512, 1024), 0.5),
    "L": ((3, 3, 27, 3), (192, 384, 768, 1536), 0.5),
    "XL": ((3, 3, 27, 3), (256, 512, 1024, 2048), 0.5),
    "v2_atto": ((2, 2, 6, 2), (40, 80, 160, 320), 0.0),
    "v2_femto": ((2, 2, 6, 2), (48, 96, 192, 384), 0.0),
    "v2_pico": ((2, 2, 6, 2), (64, 128, 256, 512), 0.0),
    "v2_nano": ((2, 2, 8, 2), (80, 160, 320, 640), 0.1),
    "v2_T": ((3, 3, 9, 3), (96, 192, 384, 768), 0.2),
    "v2_B": ((3, 3, 27, 3), (128, 256, 512, 1024), 0.1),
    "v2_L": ((3, 3, 27, 3), (192, 384, 768, 1536), 0.2),
    "v2_H": ((3, 3, 27, 3), (352, 704, 1408, 2816), 0.3),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as timm counts them.
PARAMETERS = {
    "T": 28_589_128, "S": 50_223_688, "B": 88_591_464, "L": 197_767_336, "XL": 350_196_968,
    "v2_atto": 3_708_400, "v2_femto": 5_233_240, "v2_pico": 9_066_280, "v2_nano": 15_623_800,
    "v2_T": 28_635_496, "v2_B": 88_717_800, "v2_L": 197_956_840, "v2_H": 660_289_640,
}  # fmt: skip
# Of one image of 224 x 224 pixels, forward, in billions of products, as timm's networks are counted.
GMACS = {
    "T": 4.46, "S": 8.68, "B": 15.35, "L": 34.36, "XL": 60.92, "v2_atto": 0.55, "v2_T": 4.46, "v2_B": 15.35,
}  # fmt: skip


def network(
    layers,
    widths,
    patch=4,
    scale=1e-6,
    response=None,
    classes=1000,
    activation="gelu",
    eps=1e-6,
    drop_path=0.0,
    inner_eps=1e-6,
):
    """The spec of the pyramid.

    scale: the first value of LayerScale, None for none.  response: epsilon of the global response normalisation, None
    for none.  eps: of the norm after the mean over all positions.  inner_eps: of the others.
    """
    norm = dict(kind="layernorm", eps=inner_eps)

    def stage(i):
        down = dict(kind="strided_conv", width=widths[i], in_norm=norm, rest="drop")
        block = dict(kind="convnext", hidden=4 * widths[i], activation=activation, norm=norm, response=response)
        return dict(down=down if i else None, pattern=[block], repeats=layers[i])

    scaled = dict(kind="plain") if scale is None else dict(kind="scaled", gate=scale, learn="channel")
    pool = dict(kind="normed", pool=dict(kind="mean"), norm=dict(kind="layernorm", eps=eps))
    stem = dict(kind="conv", size=patch, stride=patch, margin=0, norm=norm)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=widths[0], cls=0),
        stages=[stage(i) for i in range(len(layers))],
        residual=dict(scaled, drop_path=drop_path),
        heads=dict(label=dict(kind="classification", classes=classes, pool=pool)),
    )


def get_config(arg="T"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    if arg == "tiny":
        c.model = network((1, 1), (32, 64), patch=1, scale=None, response=1e-6, classes=10)
        c.objective.mixup, c.objective.smoothing = 0.0, 0.0
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, widths, drop_path = SIZES[arg]
    second = arg.startswith("v2_")
    versions = dict(scale=None, response=1e-6) if second else dict(scale=1e-6)
    c.model = network(layers, widths, drop_path=drop_path, **versions)
    c.model["embed"]["channels"] = 3
    c.init = [(r"(kernel|table)$", dict(kind="truncated_normal", std=0.02))]
    c.batch, c.ema, c.objective.smoothing = 4096, 0.9999, 0.1
    steps_per_epoch = 1_281_167 // c.batch
    c.steps = 300 * steps_per_epoch
    c.eval_every = c.save_every = 5 * steps_per_epoch
    c.schedule = dict(kind="cosine", peak=4e-3, end=1e-6, warmup=20 * steps_per_epoch)
    return c
