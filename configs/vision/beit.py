"""BEiT: a vision transformer with relative positions, pre-trained to predict visual tokens of hidden patches.

Bao, Dong, Piao, Wei, "BEiT: BERT Pre-Training of Image Transformers", 2022.

Reproduced: the networks and the fine-tuning on ImageNet-1k (table 1: 83.2 and 85.2 % at 224 pixels for B and L), by the
recipe of appendix H, which is from memory: check it before a long run. It starts from a checkpoint that has a table of
relative positions in each layer, as those after intermediate fine-tuning on ImageNet-22k.
Command: xfm train configs/vision/beit.py:B --workdir runs/beit --config.data.path=IMAGENET/train \
  --config.start.source=microsoft/beit-base-patch16-224-pt22k-ft22k
Cost: fine-tuning takes 100 epochs of ImageNet for B.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: scikit-learn's digits (tiny run: accuracy 0.73).
"""

from xfm.configs.vision import vit

PAPER = "Bao et al. 2022, BEiT: BERT Pre-Training of Image Transformers"
ORACLE = "transformers BeitModel with its heads and copied weights (goldens); published parameter counts"
MARGIN = 1.0  # nats

# layers, width, heads, first value of LayerScale; epochs, peak rate, layer-wise decay, stochastic depth of fine-tuning
SIZES = {"B": (12, 768, 12, 0.1), "L": (24, 1024, 16, 1e-5)}
RECIPES = {"B": (100, 4e-3, 0.65, 0.1), "L": (50, 4e-3, 0.75, 0.2)}
VARIANTS = ("tiny", *SIZES)
GMACS = {"B": 17.56, "L": 61.55}
PARAMETERS = {"B": 86_530_984, "L": 304_430_568}


def network(layers, width, heads, patch, size, hidden=None, positions="layer", gate=0.1, eps=1e-12, drop_path=0.0):
    """The spec of the pre-norm encoder with LayerScale, without a last norm, which belongs to the heads.

    patch, size: a side in pixels, or (rows, columns).  gate: first value of LayerScale, which is absent at 0.
    positions: "layer" for a table of relative positions in each layer, "shared" for one of all layers, or "none".
    """
    spec = vit.network(layers, width, heads, patch, size, 0, "gelu", hidden, eps=eps)
    position = dict(kind="relative_patches", size=spec["embed"]["position"]["size"], first=1)
    spec["embed"]["position"] = dict(kind="none")
    spec["pattern"][0]["bias"] = ("q", "v", "o")
    if positions == "layer":
        spec["pattern"][0]["position"] = position
    if positions == "shared":
        spec["position"], spec["pattern"][0]["position"] = dict(position, heads=heads), dict(kind="shared")
    if gate:
        spec["residual"] = dict(kind="scaled", gate=gate, learn="channel", drop_path=drop_path)
    return spec | dict(norm=None, heads={})


def pooler(eps=1e-12):
    """The spec of the head that makes a vector: the norm of the patches' mean."""
    return dict(kind="vector", pool=dict(kind="normed", norm=dict(kind="layernorm", eps=eps)))


def classifier(classes, eps=1e-12):
    """The specs of the pooler and of the head that classifies its vector."""
    label = dict(kind="classification", classes=classes, pool=dict(kind="of_head", head="pooled"))
    return dict(pooled=pooler(eps), label=label)


def visual_tokens(vocabulary, eps=1e-12):
    """The spec of the head that predicts the visual token of each patch."""
    norm = dict(kind="layernorm", eps=eps)
    return dict(kind="of_patches", norm=norm, head=dict(kind="tagging", classes=vocabulary))


def get_config(arg="B"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, gate=0.5, eps=1e-6) | dict(heads=classifier(10, 1e-6))
        c.steps, c.schedule = 150, dict(kind="cosine", peak=4e-3, warmup=20)
        c.log_every, c.eval_every, c.save_every = 25, 75, 150
        return c
    c.repeats = 1
    del c.data["mean"], c.data["std"]  # they are the checkpoint's
    layers, width, heads, gate = SIZES[arg]
    epochs, peak, decay, drop_path = RECIPES[arg]
    c.model = network(layers, width, heads, 16, 224, gate=gate, drop_path=drop_path)
    c.model["heads"] = classifier(1000)
    c.model["embed"]["channels"] = 3
    c.start = dict(source=None, head=None, fresh=("^head_label/",))
    steps = 1_281_167 // c.batch
    c.steps, c.layer_decay, c.ema = epochs * steps, dict(rate=decay), None
    c.schedule = dict(kind="cosine", peak=peak, end=1e-6, warmup=20 * steps)
    return c
