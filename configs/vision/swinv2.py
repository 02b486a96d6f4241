"""Swin Transformer V2: windows with cosine attention and a bias that a small network makes of logarithmic offsets.

Liu, Hu, Lin, Yao, Xie, Wei, Ning, Cao, Zhang, Dong, Wei, Guo, "Swin Transformer V2: Scaling Up Capacity and
Resolution", 2022.

Reproduced: the networks T, S, B and L of section 3.5, parameter for parameter, with windows of 8 or 16 and images of
256 pixels, and L as it is fine-tuned at 384 with windows of 24 after 12 (`L/24`), whose bias keeps the offsets of the
windows it was trained with; the ImageNet-1k recipe is that of `vision/swin`. Left out: SimMIM pre-training, and the
extra norm of H and G.
Command: xfm train configs/vision/swinv2.py:T/8 --workdir runs/swinv2 --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: scikit-learn's digits (tiny run of 200 steps: accuracy 0.82).
"""

from xfm.configs.vision import swin

PAPER = "Liu et al. 2022, Swin Transformer V2: Scaling Up Capacity and Resolution"
ORACLE = "transformers Swinv2Model with copied weights (goldens); parameters and GMACs of timm's swinv2 models"
MARGIN = 1.5  # nats

BEFORE = (12, 12, 12, 6)  # the windows of the first training of L, with images of 192 pixels
# the network of swin.SIZES, side of the windows, of the windows of the first training if it was another, of the images
SIZES = {
    "T/8": ("T", 8, None, 256), "T/16": ("T", 16, None, 256), "S/8": ("S", 8, None, 256), "S/16": ("S", 16, None, 256),
    "B/8": ("B", 8, None, 256), "B/16": ("B", 16, None, 256), "L/12": ("L", 12, None, 192),
    "L/16": ("L", 16, BEFORE, 256), "L/24": ("L", 24, BEFORE, 384),
}  # fmt: skip
VARIANTS = ("tiny", *SIZES)
# With 1000 classes, as counted in timm 1.0.31; they do not depend on the windows.
PARAMETERS = {name: {"T": 28_347_154, "S": 49_728_418, "B": 87_918_816, "L": 196_739_932}[name[0]] for name in SIZES}
# Products of one image in units of 1e9, as timm counts them.
GMACS = {"T/8": 5.94, "T/16": 6.66, "S/8": 11.55, "B/8": 20.33, "B/16": 21.97}


def network(layers, width, heads, patch, window, grid, classes, **changes):
    """The spec of the network: Swin's with a norm after each part in place of the one before, and cosine attention.

    window: the side of the windows, smaller in stages whose grid is smaller.  grid: the side of the first stage's grid,
    for which the network is made; larger images are cut into the same windows.
    changes: pretrained: for each stage the side of the windows that the bias was trained for, 0 for its own; and
    arguments of `swin.network`.
    """
    pretrained = changes.pop("pretrained", None) or [0] * len(layers)
    spec = swin.network(layers, width, heads, patch, window, classes, **changes)
    fixed = dict(kind="layernorm", eps=1e-5)
    spec["norms"] = {"residual": spec["norms"]["in"]}
    for i, stage in enumerate(spec["stages"]):
        if stage["down"] is not None:
            stage["down"] = dict(kind="patch_merging", norm=None, out_norm=fixed, uneven="padded")
        side = grid // 2**i
        own, still = min(side, window), side <= window
        for part in (part for part in stage["pattern"] if part["kind"] == "windowed"):
            position = dict(kind="continuous_grid", reach=pretrained[i] or None)
            mixer = dict(part["mixer"], position=position, qk_norm=dict(kind="unit"), scale="learned")
            part.update(mixer=mixer, window=own, shift=0 if still else part["shift"], fit="never")
    return spec


def get_config(arg="T/8"):
    c = swin.get_config("tiny" if arg == "tiny" else arg[0])
    if arg == "tiny":
        c.model = network(
            (2, 2), 32, (2, 4), patch=1, window=4, grid=8, classes=10, bias=("q", "v", "o"), drop_path=0.1
        )
        c.steps = 200
        return c
    size, window, before, side = SIZES[arg]
    layers, width, heads, drop_path = swin.SIZES[size]
    c.model = network(
        layers, width, heads, patch=4, window=window, grid=side // 4, classes=1000, bias=("q", "v", "o"),
        pretrained=before, drop_path=drop_path,
    )  # fmt: skip
    c.model["embed"]["channels"] = 3
    c.data.size = side
    return c
