"""AsCAN: a pyramid whose stages are strings of convolutional and transformer blocks, with few of the latter early.

Kag, Coskun, Chen, Cao, Menapace, Siarohin, Tulyakov, Ren, "AsCAN: Asymmetric Convolution-Attention Networks for
Efficient Recognition and Generation", NeurIPS 2024.

Reproduced: the idea of the abstract. Each stage is a string of C (convolution) and T (transformer), here data of
`SIZES`: the first stages have C alone, the third begins with C and ends with T, the last has T almost alone; `network`
takes any other strings, all C or all T too.
Not from the paper: its strings and widths were looked for and not found, so those here are our own. They were chosen
so that parameters and products come within 1 % of the figures that the paper prints for its three classifiers, which
are from memory: 55M and 7.7e9, 98M and 16.7e9, 173M and 30.7e9. Our own reading as well: a C is a fused inverted
bottleneck, four times as wide inside, with a gate of channels (EfficientNetV2); a T is a pre-norm layer of attention
over the whole grid, with learned scores of offsets and heads of 32 numbers, and an MLP four times as wide; a stage
begins with a convolution of 3 x 3 at a stride of 2; the stem has two of these. The recipe is DeiT's
(configs/vision/vit.py) in place of the paper's, with stochastic depth of our choice. Diffusion and segmentation are not
here.
Command: xfm train configs/vision/ascan.py:T --workdir runs/ascan --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages, "C" and "CT". Result of the tiny run: 98.6 % of scikit-learn's digits held out
are classified correctly after 100 steps.
"""

from xfm.configs.vision import vit

PAPER = "Kag et al. 2024, AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and Generation"
ORACLE = "timm's EdgeResidual and RelPosBlock with copied weights (golden); products of each stage in closed form"
MARGIN = 1.5  # nats

# blocks and widths of the stages, rate of stochastic depth: ours (see above)
SIZES = {
    "T": (("CC", "CCCC", "CCCCTTT", "CTTTTTTTT"), (64, 128, 256, 512), 0.1),
    "B": (("CC", "CCCC", "CCCCTTTTT", "CTTTT"), (96, 192, 384, 768), 0.2),
    "L": (("CCC", "CCCC", "CCCTTTTTT", "TTTTTTTT"), (128, 256, 512, 1024), 0.3),
}
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, of our strings, and so not the paper's; with the moving averages of batch norms.
PARAMETERS = {"T": 54_901_920, "B": 98_221_300, "L": 173_352_616}
# The paper's figures (from memory) for 224 x 224 pixels, in billions of products, for which our strings were chosen.
GMACS = {"T": 7.7, "B": 16.7, "L": 30.7}
HEAD, EXPANSION = 32, 4
BATCHNORM, LAYERNORM = dict(kind="batchnorm", eps=1e-5), dict(kind="layernorm", eps=1e-6)


def blocks(string, width, side, head=HEAD):
    """(pattern, repeats) of a stage: the shortest string of blocks that gives this one when it is repeated.

    width: of the stage.  side: rows and columns of its grid.  head: width of a head. Raises
    ValueError for letters other than C and T.
    """
    if not string or set(string) - set("CT"):
        raise ValueError(f"the blocks of a stage are a string of C and T such as 'CCT', not {string!r}")
    hidden = EXPANSION * width
    conv = dict(kind="fused_mbconv", hidden=hidden, inner=width // 4, activation="silu", norm=BATCHNORM)
    made = {
        "C": [dict(part=conv, norms={})],
        "T": [
            dict(kind="attention", heads=width // head, position=dict(kind="relative_grid", size=side)),
            dict(kind="mlp", hidden=hidden, activation="gelu"),
        ],
    }
    period = next(n for n in range(1, len(string) + 1) if string[:n] * (len(string) // n) == string)
    return [sublayer for letter in string[:period] for sublayer in made[letter]], len(string) // period


def network(strings, widths, size, classes, strides=(2, 2), head=HEAD, drop_path=0.0):
    """The spec of the pyramid.

    strings: the blocks of each stage.  widths: of the stages.  size: of the image, in pixels.  strides: of the stem.
    head: width of a head.
    """
    side = size // (strides[0] * strides[1])

    def stage(i):
        pattern, repeats = blocks(strings[i], widths[i], side >> i, head)
        down = dict(kind="strided_conv", width=widths[i], size=3, margin=1, bias=False, out_norm=BATCHNORM)
        return dict(down=down if i else None, pattern=pattern, repeats=repeats)

    stem = dict(kind="convs", widths=(widths[0],), strides=strides, activation="silu", norm=BATCHNORM)
    pool = dict(kind="normed", pool=dict(kind="mean"), norm=LAYERNORM)
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=stem, width=widths[0], cls=0),
        stages=[stage(i) for i in range(len(strings))],
        norms={"in": LAYERNORM},
        residual=dict(kind="plain", drop_path=drop_path),
        heads=dict(label=dict(kind="classification", classes=classes, pool=pool)),
    )


def get_config(arg="T"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    c.repeats = 1
    if arg == "tiny":
        c.model = network(("C", "CT"), (16, 32), 8, 10, strides=(2, 1), head=16)
        c.objective.update(mixup=0.0)
        c.steps, c.schedule = 100, dict(kind="cosine", peak=4e-3, warmup=10)
        return c
    strings, widths, drop_path = SIZES[arg]
    c.model = network(strings, widths, 224, 1000, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    c.init = [(r"(/[qkvo]|/mlp_\d+/part/\w+|head_label/out)/kernel$", dict(kind="truncated_normal", std=0.02))]
    return c
