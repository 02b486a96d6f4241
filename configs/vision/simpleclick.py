"""SimpleClick: an object's mask from clicks on it, by a plain vision transformer with a second map of patches.

Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers", 2023.

Reproduced, from the authors' program: the networks for images of 448 pixels, parameter for parameter as far as they
are used, and the training: clicks drawn on and around an object, up to three more where the network errs, the
normalised focal loss, Adam with a tenth of the rate in the last 5 of 55 epochs of 30,000 objects.
Different from the program: objects are the numbers of one mask and are not merged, nor are images without an object
drawn; the exact distance where it takes OpenCV's approximation in training; images are scaled and flipped and not
cropped at random scales or changed in colour; no zoom and no flips in evaluation. The authors start from MAE, and so
does the command; they resize its table of positions, which is drawn here.
Command: xfm train configs/vision/simpleclick.py:B --workdir runs/click --config.data.path=COCO_LVIS/train
    --config.start.source=facebook/vit-mae-base
Cost: 51,535 steps of 32 images.  Result: not run at scale.
`tiny` is for two CPU cores: scenes of handwritten digits, each of them an object; without windows. Result of the tiny
run: after 200 steps a loss of 0.294 nats, 0.052 below its baseline (it is scaled to what is still wrong, and falls
little); the mean IoU of held-out digits is 0.67 after one click and 0.76 after five.
"""

from ml_collections import ConfigDict

from xfm.augment import recipes

PAPER = "Liu et al. 2023, SimpleClick: Interactive Image Segmentation with Simple Vision Transformers"
ORACLE = "the authors' program with copied weights (golden); its parameter counts; masks and clicks worked by hand"
MARGIN = 0.03  # nats

# layers, width, heads, patch, layers of a period, widths of the maps, width of the head
SIZES = {
    "xT": (8, 160, 4, 16, 2, (96, 192, 288, 384), 128),
    "B": (12, 768, 12, 16, 6, (128, 256, 512, 1024), 256),
    "L": (24, 1024, 16, 16, 6, (192, 384, 768, 1536), 256),
    "H": (32, 1280, 16, 14, 8, (240, 480, 960, 1920), 256),
}
VARIANTS = ("tiny", *SIZES)
# Those that the program's networks use, without the first row of their positions, of a class token.
PARAMETERS = {"xT": 3_845_281, "B": 97_067_969, "L": 322_991_809, "H": 660_713_201}


def network(layers, width, heads, patch, period, widths, inside, size=448, channels=3, drop=0.0):
    """The spec of the network.

    period: layers, all but the last of which attend within windows.  widths: of the maps of the pyramid.  inside, drop:
    of the head.  size: of images, a side in pixels, or (rows, columns). Windows have 224 x 224 pixels.
    """
    grid = tuple(side // patch for side in ((size, size) if isinstance(size, int) else size))
    position = dict(kind="learned_grid", size=grid[0] if grid[0] == grid[1] else grid, first=0)
    patches = dict(kind="patches", patch=patch, width=width, cls=0, position=position, channels=channels)
    attention, mlp = dict(kind="attention", heads=heads), dict(kind="mlp", hidden=4 * width, activation="gelu")
    near = dict(kind="windowed", mixer=attention, window=224 // patch)
    head = dict(kind="mlp_maps", classes=1, width=inside, drop=drop)
    return dict(
        kind="stack",
        embed=dict(kind="clicked", embed=patches),
        pattern=[*[near, mlp] * (period - 1), attention, mlp],
        repeats=layers // period,
        norms={"in": dict(kind="layernorm", eps=1e-6)},
        heads=dict(mask=dict(kind="widening_pyramid", widths=widths, head=head)),
    )


def get_config(arg="B"):
    c = ConfigDict()
    c.model = network(*SIZES["B" if arg == "tiny" else arg], drop=0.1)
    c.init = [(r"(^|/)(cls|table)$", dict(kind="normal", std=0.02))]
    c.start = dict(
        source=None, layers="number", renames=[("^embed/embed/", "embed/"), ("^part/mixer/", "part/")],
        fresh=["^embed/(clicks|embed/position)/", "^head_mask/"], export="none",
    )  # fmt: skip
    c.objective = dict(kind="clicks", points=24, further=3, least=1000)
    c.evals = [dict(kind="number_of_clicks", least=1000)]
    c.data = dict(
        kind="objects", path="COCO_LVIS/train", size=448, augment=[dict(kind="flip")], validation="COCO_LVIS/val",
        **recipes.IMAGENET,
    )  # fmt: skip
    epoch = 30_000 // 32
    c.batch, c.clip, c.steps = 32, None, 55 * epoch
    c.optimiser = dict(kind="adam", b1=0.9, b2=0.999, eps=1e-8)
    c.schedule = dict(kind="milestones", peak=5e-5, at=[50 * epoch], factor=0.1)
    c.log_every, c.eval_every, c.save_every = 50, 5 * epoch, 5 * epoch
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    c.model = network(2, 48, 4, 4, 1, (12, 16, 24, 32), 32, size=32, channels=1)
    c.model["embed"]["radius"] = 1
    c.objective = dict(kind="clicks", points=4, further=1, least=8)
    c.evals = [dict(kind="number_of_clicks", least=8, clicks=5)]
    c.data = dict(kind="objects", scenes=800, validation=0.1)
    c.batch, c.clip, c.steps = 16, 1.0, 200
    c.optimiser = dict(kind="adamw", weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=4e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
