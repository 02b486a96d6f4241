"""Swin: attention within shifted windows, in stages that each halve the grid's sides and double the width.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
2021.

Reproduced: the four networks of section 3.3, parameter for parameter, and the ImageNet-1k recipe of appendix A2.1,
which is from memory: check it before a long run. Different from the paper: two
layers share a rate of stochastic depth, since they are one period.
Command: xfm train configs/vision/swin.py:T --workdir runs/swin --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: three stages, scikit-learn's digits, 104 seconds of processor time. Result of the tiny run:
98.0 % of the digits held out are classified correctly after 300 steps (99.1 % with seed 1). `digits` is two stages with
absolute positions (table 4). Result of that run: 97.2 % of the digits held out are classified correctly after 480
steps.
"""

from xfm.configs.vision import vit

PAPER = "Liu et al. 2021, Swin Transformer: Hierarchical Vision Transformer using Shifted Windows"
ORACLE = "transformers SwinModel with copied weights (goldens); published parameter counts (29M, 50M, 88M, 197M)"
MARGIN = 1.5  # nats

# layers of each stage, width of the first, heads of each stage, rate of stochastic depth (appendix A2.1)
SIZES = {
    "T": ((2, 2, 6, 2), 96, (3, 6, 12, 24), 0.2),
    "S": ((2, 2, 18, 2), 96, (3, 6, 12, 24), 0.3),
    "B": ((2, 2, 18, 2), 128, (4, 8, 16, 32), 0.5),
    "L": ((2, 2, 18, 2), 192, (6, 12, 24, 48), 0.2),
}
VARIANTS = ("tiny", "digits", *SIZES)
# With 1000 classes, as counted by the authors' program; the paper's table 1 prints them rounded.
PARAMETERS = {"T": 28_288_354, "S": 49_606_258, "B": 87_768_224, "L": 196_532_476}
# Products of one image in units of 1e9, as timm counts them.
GMACS = {"T": 4.49, "S": 8.74, "B": 15.43, "L": 34.48}


def network(
    layers, width, heads, patch, window, classes, drop_path=0.0, hidden=4.0, activation="gelu", eps=1e-5, bias=True
):
    """The spec of the pre-norm network: patches are merged between stages, and every second layer's windows are shifted
    by half their size.

    layers, heads: of each stage.  width: of the first stage.  hidden: width of the MLP, as a multiple of the stream's.
    eps: of the layers' norms and the last one; those of the patches and of merging always have 1e-5.
    """
    outside = dict(padding="before_shift", fit="square")  # of images that windows do not fill: as in the program
    norm, fixed = dict(kind="layernorm", eps=eps), dict(kind="layernorm", eps=1e-5)

    def layer(i, shift):
        mixer = dict(kind="attention", heads=heads[i], bias=bias, position=dict(kind="relative_grid", size=window))
        mlp = dict(kind="mlp", hidden=int(hidden * width * 2**i), activation=activation)
        return [dict(kind="windowed", mixer=mixer, window=window, shift=shift, **outside), mlp]

    def stage(i):
        down = dict(kind="patch_merging", norm=fixed, uneven="padded") if i else None
        count = layers[i] if layers[i] % 2 else 2  # an odd number of layers is no repetition of two
        pattern = [part for j in range(count) for part in layer(i, window // 2 if j % 2 else 0)]
        return dict(down=down, pattern=pattern, repeats=layers[i] // count)

    stem = dict(kind="normed_patches", patch=patch, in_norm=None, out_norm=fixed, uneven="padded")
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=width, cls=0),
        stages=[stage(i) for i in range(len(layers))],
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )


def get_config(arg="T"):
    c = vit.get_config("tiny" if arg in ("tiny", "digits") else "deit_S")
    if arg == "digits":
        c.model = network((2, 2), 32, (2, 4), patch=1, window=4, classes=10, drop_path=0.1)
        c.model.embed.position = dict(kind="learned_grid", size=8, first=0)
        c.objective.update(mixup=0.0)
        c.steps, c.eval_every, c.schedule = 480, 240, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    if arg == "tiny":
        c.model = network((2, 2, 2), 32, (2, 4, 8), patch=1, window=4, classes=10, drop_path=0.1)
        c.steps, c.schedule = 300, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, width, heads, drop_path = SIZES[arg]
    c.model = network(layers, width, heads, patch=4, window=7, classes=1000, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    c.init = [(r"(kernel|table)$", dict(kind="truncated_normal", std=0.02))]
    c.schedule = dict(kind="cosine", peak=1e-3, end=1e-5, warmup=20 * (1_281_167 // c.batch))
    c.clip, c.ema, c.repeats = 1.0, None, 1
    return c
