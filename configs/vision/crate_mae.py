"""CRATE-MAE: a masked autoencoder whose encoder takes steps of CRATE, and whose decoder inverts them layer by layer.

Pai, Wu, Buchanan, Yu, Ma, "Masked Completion via Structured Diffusion with White-Box Transformers", 2024.

Reproduced: the networks of the authors' program (model/crate_ae): hidden patches are a learned token, which the encoder
reads too; a layer of the decoder maps each token by a dictionary and then subtracts a step of subspace attention. There
the sparsity of a code is 0.5. The recipe is that of MAE, to whose program the authors' README refers; the paper's own
numbers have not been looked up. Its file also creates a linear map and a table that it never reads; they are left out.
Command: xfm train configs/vision/crate_mae.py:base --workdir runs/crate_mae --config.data.path=IMAGENET/train
Cost: 800 epochs of ImageNet.  Result: not run at scale.
`tiny` and `digits` are for two CPU cores and the digits of scikit-learn. `tiny`, 200 steps, ends at a loss of 0.309
(one seed) where the mean pixel has 0.569. The mean digit, for which no pixel need be seen, has 0.289: the run ends
before the network uses what is visible. `digits`, 2,000 steps, ends at 0.201 and 0.208 (seeds 0 and 1). With ten labels
a class, a linear probe of the encoder's mean token then classifies 68.4 % and 56.4 % of the digits held out; with
random weights it is 39.6 %, 38.5 % and 47.6 % (three seeds).
"""

from xfm.configs.vision import crate, mae

PAPER = "Pai et al. 2024, Masked Completion via Structured Diffusion with White-Box Transformers"
ORACLE = "the authors' model/crate_ae with copied weights (goldens), and its parameter counts"
MARGIN = 0.2  # of the mean squared error of pixels

SIZES = crate.SIZES  # layers of the encoder, and of the decoder, width, heads
VARIANTS = ("tiny", "digits", *SIZES)
# Without what the authors' program never reads; a ViT-MAE of base's layers and widths has 143,048,448 there.
PARAMETERS = {"tiny_384": 11_331_840, "small": 24_960_000, "base": 43_896_576, "large": 153_023_232}


def network(layers, width, heads, patch, size, channels=3):
    """The spec of encoder and decoder, two stages of one grid, of the same layers, width and heads."""
    norm, last = dict(kind="layernorm", eps=1e-5), dict(kind="layernorm", eps=1e-6)
    instead = dict(kind="scaled", skip=0.0)  # the part's answer takes the place of the stream
    attention = dict(kind="subspace_attention", heads=heads)
    encoder = [attention, dict(part=dict(kind="ista", step=0.1, sparsity=0.5), residual=instead)]
    decoder = [
        dict(part=dict(kind="linear_map"), residual=instead),
        dict(part=attention, residual=dict(kind="scaled", gate=-1.0)),
    ]
    position = dict(kind="learned_grid", size=size // patch, start="sines")
    return dict(
        kind="pyramid",
        embed=dict(kind="patches", patch=patch, width=width, mask="token", position=position, channels=channels),
        stages=[dict(pattern=encoder, repeats=layers, norm=last), dict(pattern=decoder, repeats=layers)],
        norms={"in": norm},
        norm=last,
        features=("stage_0",),
        heads=dict(patches=dict(kind="values", width=patch * patch * channels)),
    )


def get_config(arg="base"):
    c = mae.get_config(arg if arg in ("tiny", "digits") else "B")
    c.objective["shown"] = "tokens"
    c.freeze = [r"position/table$"]
    if arg in ("tiny", "digits"):
        c.model = network(2, 64, 4, patch=2, size=8, channels=1)
        c.evals = [dict(kind="linear_probe", features="stage_0", shots=10)]
        return c
    c.model = network(*SIZES[arg], patch=16, size=224)
    c.evals = [dict(kind="linear_probe", features="stage_0")]
    return c
