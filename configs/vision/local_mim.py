"""LocalMIM: a ViT of which four layers each reconstruct the hidden part of an image, lower layers in more detail.

Wang, Tang, Wang, Guo, Deng, Han, "Masked Image Modeling with Local Multi-Scale Reconstruction", 2023.

Reproduced: the networks of pre-training, parameter for parameter, with a decoder of one layer after layers 2, 4, the
last but two and the last; histograms of oriented gradients of cells of 4, 8, 16 and 32 pixels as their targets; and
the recipe of the authors' program for B and L. Different from it: for L, its filters of gradients have a random bias
that is not trained, and ours have none. Not here: the networks of Swin.
Command: xfm train configs/vision/local_mim.py:B --workdir runs/local_mim --config.data.path=IMAGENET/train
Cost: the authors need 0.7 hours on a machine of 8 V100 for an epoch of B, of 1,600.  Result: not run at scale.
`tiny` is for two CPU cores: 200 steps on the digits of scikit-learn, with three levels. Result of the
tiny run: a loss of 0.163 where the mean histograms have 0.183; a linear probe of the class token classifies 81.5 %.
The mean histograms of each position, for which no pixel need be seen, have 0.154: the run ends before the network uses
what is visible.
"""

from xfm.configs.vision import mae

PAPER = "Wang et al. 2023, LocalMIM: Masked Image Modeling with Local Multi-Scale Reconstruction"
ORACLE = "the loss and the histograms by their formulas; the parameter counts of the authors' program"
MARGIN = 0.01  # of the mean squared error of histograms, summed over the levels

SIZES = {name: mae.SIZES[name] for name in ("B", "L")}  # layers, width, heads, patch
VARIANTS = ("tiny", *SIZES)
BINS = {"B": 9, "L": 18}  # of directions, for each colour
PARAMETERS = {"B": 90_269_164, "L": 308_054_936}  # with the tables of positions, which are not trained


def network(layers, width, heads, patch, size, finer, numbers, channels=3, inner=256, inner_heads=8):
    """The spec of the encoder and of its decoders.

    finer: for each layer below the last that has a decoder, the doublings from its tokens to its predictions.
    numbers: at each predicted position.
    """
    spec = mae.network(layers, width, heads, patch, size, channels, depth=1, inner=inner, inner_heads=inner_heads)
    norm, last = spec["norm"], spec["decoder"]
    last["heads"] = dict(patches=dict(kind="values", width=numbers))
    beside = {}
    for layer, times in finer.items():
        head = dict(kind="tiles", width=numbers, doublings=times) if times else dict(kind="values", width=numbers)
        own = dict(last, embed=dict(last["embed"], norm=norm), heads={f"patches_{layer}": head})
        beside[f"layer_{layer}"] = own
    return {**spec, "taps": tuple(finer), "beside": beside}


def levels(finer, patch, bins):
    """The targets: cells as fine as each decoder's predictions, and for the last one windows of 2 x 2 patches."""
    cells = {f"patches_{layer}": patch // 2**times for layer, times in finer.items()}
    own = {name: dict(target=dict(kind="hog", cell=cell, bins=bins)) for name, cell in cells.items()}
    return {**own, "patches": dict(target=dict(kind="hog", cell=2 * patch, bins=bins), merge=2)}


def get_config(arg="B"):
    c = mae.get_config("tiny" if arg == "tiny" else "B")
    c.evals = [dict(kind="linear_probe", features="cls")]
    if arg == "tiny":
        finer, bins, patch = {1: 1, 2: 0}, 9, 2
        c.model = network(3, 64, 4, patch, 8, finer, bins, channels=1, inner=32, inner_heads=4)
    else:
        layers, width, heads, patch = SIZES[arg]
        finer, bins = {2: 2, 4: 1, layers - 2: 0}, BINS[arg]
        c.model = network(layers, width, heads, patch, 224, finer, 3 * bins)
    c.objective = dict(kind="local_masked_images", mask=dict(kind="random", rate=0.75))
    c.objective["levels"] = levels(finer, patch, bins)
    if arg == "tiny":
        return c
    c.batch, epochs = {"B": (2048, 1600), "L": (4096, 800)}[arg]
    steps_per_epoch = 1_281_167 // c.batch
    c.steps = epochs * steps_per_epoch
    rate = {"B": 2e-4, "L": 1.5e-4}[arg] * c.batch / 256
    c.schedule = dict(kind="cosine", peak=rate, end=1e-6, warmup=40 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c
