"""FocalNet: a pyramid in which focal modulation stands in the place of attention.

Yang, Li, Dai, Yuan, Gao, "Focal Modulation Networks", 2022.

Reproduced: the networks T, S and B with a small and a large receptive field (SRF, LRF: two and three convolutions in
each layer), parameter for parameter, and the recipe for ImageNet-1k, with the numbers of the authors' program
(config.py); its warm-up begins at 1e-6, here at 0.
Command: xfm train configs/vision/focalnet.py:T_SRF --workdir runs/focalnet --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two stages. Result of the tiny run: 99.2 % of the digits
of scikit-learn that are held out are classified correctly after 200 steps.
"""

from xfm.configs.vision import vit

PAPER = "Yang et al. 2022, Focal Modulation Networks"
ORACLE = "transformers FocalNetForImageClassification with copied weights (goldens); parameters and GMACs of timm"
MARGIN = 1.5  # nats

# layers of the stages, width of the first, rate of stochastic depth
SIZES = {"T": ((2, 2, 6, 2), 96, 0.2), "S": ((2, 2, 18, 2), 96, 0.3), "B": ((2, 2, 18, 2), 128, 0.5)}
FIELDS = {"SRF": 2, "LRF": 3}  # convolutions in a layer
VARIANTS = ("tiny", *(f"{size}_{field}" for size in SIZES for field in FIELDS))
# With 1000 classes, as timm counts them.
PARAMETERS = {
    "T_SRF": 28_427_116, "T_LRF": 28_647_928, "S_SRF": 49_891_216, "S_LRF": 50_342_440, "B_SRF": 88_148_144,
    "B_LRF": 88_749_768,
}  # fmt: skip
# Of one image of 224 x 224 pixels, forward, in billions of products, as timm's networks are counted.
GMACS = {"T_SRF": 4.40, "T_LRF": 4.47, "S_SRF": 8.60, "S_LRF": 8.72, "B_SRF": 15.24, "B_LRF": 15.40}
PATCHES = dict(size=4, stride=4, margin=0), dict(size=2, stride=2, margin=0)


def network(
    layers,
    levels,
    windows,
    width,
    classes,
    drop_path=0.0,
    ratio=4.0,
    patches=PATCHES,
    norms=("in",),
    gate=None,
    eps=1e-5,
    **mixer,
):
    """The spec of the pyramid, each of whose stages is twice as wide as the one before.

    layers, levels, windows: of each stage, the latter two of its modulation.  width: of the first stage.  ratio: width
    of the MLPs as a multiple of the stream's.  patches: size, stride and margin of the stem, and of the layers between
    stages.  norms: where a sublayer has one.  gate: with which LayerScale begins, None without it.
    eps: of all norms.  mixer: further fields of focal modulation.
    """
    norm, (stem, down) = dict(kind="layernorm", eps=eps), patches

    def stage(i):
        modulation = dict(kind="focal_modulation", levels=levels[i], window=windows[i], **mixer)
        mlp = dict(kind="mlp", hidden=int(width * 2**i * ratio), activation="gelu")
        rest = "drop" if down["margin"] else "refuse"
        step = dict(down, kind="strided_conv", width=width * 2**i, out_norm=norm, rest=rest)
        return dict(down=step if i else None, pattern=[modulation, mlp], repeats=layers[i])

    residual = dict(kind="plain") if gate is None else dict(kind="scaled", gate=gate, learn="channel")
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", stem=dict(stem, kind="conv", norm=norm), width=width, cls=0),
        stages=[stage(i) for i in range(len(layers))],
        norms=dict.fromkeys(norms, norm),
        residual=dict(residual, drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )


def get_config(arg="T_SRF"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        patches = PATCHES[1], PATCHES[1]
        c.model = network((1, 1), (2, 2), (3, 3), 32, classes=10, drop_path=0.1, patches=patches)
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    size, field = arg.split("_")
    layers, width, drop_path = SIZES[size]
    levels = (FIELDS[field],) * len(layers)
    c.model = network(layers, levels, (3,) * len(layers), width, classes=1000, drop_path=drop_path)
    c.model["embed"]["channels"] = 3
    c.init = [(r"kernel$", dict(kind="truncated_normal", std=0.02))]
    c.schedule = dict(kind="cosine", peak=1e-3, end=1e-5, warmup=20 * (1_281_167 // c.batch))
    c.clip, c.ema, c.repeats = 5.0, None, 1
    return c
