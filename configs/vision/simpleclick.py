"""SimpleClick: an object's mask from clicks on it, by a plain vision transformer with a second map of patches.

Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers", 2023.

Reproduced, from the authors' program: the networks for images of 448 pixels, parameter for parameter as far as they
are used, and the training: clicks drawn on and around an object, up to three more where the network errs, the
normalised focal loss, Adam with a tenth of the rate in the last 5 of 55 epochs of 30,000 objects.
Different from the program: objects are the numbers of one mask and are not merged, nor are images without an object
drawn; the exact distance where it takes OpenCV's approximation in training; images are scaled and flipped and not
cropped at random scales or changed in colour; no zoom and no flips in evaluation. The authors start from MAE, whose
layers lie in one loop and here in periods with one global layer: `config.start` does not take them.
Command: xfm train configs/vision/simpleclick.py:B --workdir runs/click --config.data.path=COCO_LVIS/train
Cost: 51,545 steps of 32 images.  Result: not run at scale.
"""

from ml_collections import ConfigDict

PAPER = "Liu et al. 2023, SimpleClick: Interactive Image Segmentation with Simple Vision Transformers"
ORACLE = "the authors' program with copied weights (golden); its parameter counts; masks and clicks worked by hand"
MARGIN = 0.05  # nats

# layers, width, heads, patch, layers of a period, widths of the maps, width of the head
SIZES = {
    "xT": (8, 160, 4, 16, 2, (96, 192, 288, 384), 128),
    "B": (12, 768, 12, 16, 6, (128, 256, 512, 1024), 256),
    "L": (24, 1024, 16, 16, 6, (192, 384, 768, 1536), 256),
    "H": (32, 1280, 16, 14, 8, (240, 480, 960, 1920), 256),
}
VARIANTS = ("tiny", *SIZES)


def network(layers, width, heads, patch, period, widths, inside, size=448, window=None, channels=3, drop=0.0):
    """The spec of the network.

    period: layers, all but the last of which attend within windows.  widths: of the maps of the pyramid.  inside, drop:
    of the head.  size: of images, a side in pixels, or (rows, columns).  window: a side in patches; if None, 224 pixels.
    """
    grid = tuple(side // patch for side in ((size, size) if isinstance(size, int) else size))
    position = dict(kind="learned_grid", size=grid[0] if grid[0] == grid[1] else grid, first=0)
    patches = dict(kind="patches", patch=patch, width=width, cls=0, position=position, channels=channels)
    attention, mlp = dict(kind="attention", heads=heads), dict(kind="mlp", hidden=4 * width, activation="gelu")
    within = dict(kind="windowed", mixer=attention, window=window or 224 // patch)
    head = dict(kind="mlp_maps", classes=1, width=inside, drop=drop)
    return dict(
        kind="stack", embed=dict(kind="clicked", embed=patches), pattern=[*[within, mlp] * (period - 1), attention, mlp],
        repeats=layers // period, norms={"in": dict(kind="layernorm", eps=1e-6)},
        heads=dict(mask=dict(kind="widening_pyramid", widths=widths, head=head)),
    )  # fmt: skip


def get_config(arg="B"):
    c = ConfigDict()
    c.model = network(*SIZES["B" if arg == "tiny" else arg])
    return c
