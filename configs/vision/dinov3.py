"""DINOv3: vision transformers with rotary positions, which read images of any size, evaluated by a linear classifier.

Siméoni, Vo, Seitzer, Baldassarre, Oquab, …, Bojanowski, "DINOv3", 2025.

Reproduced: the networks of the published family, parameter for parameter, and linear evaluation on ImageNet-1k as in
section 6 (88.4 % for 7B; 83.5 % for the L of the authors' fast recipe on ImageNet alone). A frozen checkpoint's cls
token is read by one linear map. The rate and the number of steps are DINOv2's.
Command: xfm train configs/vision/dinov3.py:B --workdir runs/dinov3 --config.data.path=IMAGENET/train \
  --config.start.source=facebook/dinov3-vitb16-pretrain-lvd1689m
Cost: features of 12.8 million images.  Result: not run at scale.
`tiny` is for two CPU cores and learns everything from random weights: scikit-learn's digits (tiny run: accuracy 0.88).
"""

from xfm.configs.vision import dinov2

PAPER = "Siméoni et al. 2025, DINOv3"
ORACLE = "transformers DINOv3ViTModel with copied weights (goldens) and its parameter counts"
MARGIN = 1.4  # nats

# layers, width, heads, width of the feed-forward part, whether that is gated, projections of attention with a bias
QVO = ("q", "v", "o")
SIZES = {
    "S": (12, 384, 6, 1536, False, QVO), "S+": (12, 384, 6, 1536, True, QVO), "B": (12, 768, 12, 3072, False, QVO),
    "L": (24, 1024, 16, 4096, False, QVO), "H+": (32, 1280, 20, 5120, True, QVO),
    "7B": (40, 4096, 32, 8192, True, ("o",)),
}  # fmt: skip
VARIANTS = ("tiny", *SIZES)
# Without a mask token, with a head of 1000 classes. timm's S, B and L have no biases of q and v either.
BACKBONE = {
    "S": 21_596_160, "S+": 28_692_480, "B": 85_659_648, "L": 303_128_576, "H+": 840_591_360, "7B": 6_716_030_976,
}  # fmt: skip
GMACS = {"S": 6.25, "B": 23.57, "L": 82.37, "7B": 1775}
PARAMETERS = {size: count + (SIZES[size][1] + 1) * 1000 for size, count in BACKBONE.items()}


def network(layers, width, heads, patch, classes, hidden, gated, bias=QVO, theta=100.0, registers=4, eps=1e-5):
    """The spec of the pre-norm encoder with LayerScale, rotary positions of patch centres, and a head of the cls token.

    patch: a side in pixels, or (rows, columns).  hidden: width of the feed-forward part.  gated: whether it is SwiGLU.
    bias: the projections of attention that have one.
    """
    given = dict(gated=hidden) if gated else dict(hidden=hidden)
    spec = dinov2.network(layers, width, heads, patch, patch, classes, registers, eps=eps, **given)
    spec["embed"]["position"] = dict(kind="none")
    spec["pattern"][0] |= dict(bias=bias, position=dict(kind="rope_centres", theta=theta))
    spec["heads"]["label"]["pool"] = dict(kind="cls")
    return spec


def get_config(arg="B"):
    c = dinov2.get_config("tiny" if arg == "tiny" else "B")
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, classes=10, hidden=128, gated=True, registers=2)
        c.model["residual"]["gate"] = 0.5
        return c
    layers, width, heads, hidden, gated, bias = SIZES[arg]
    c.model = network(layers, width, heads, 16, 1000, hidden, gated, bias)
    c.model["embed"]["channels"] = 3
    c.data.size = 256
    return c
