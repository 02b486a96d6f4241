"""BEiT's pre-training: visual tokens of hidden patches are predicted from the patches around them.

Bao, Dong, Piao, Wei, "BEiT: BERT Pre-Training of Image Transformers", 2022, section 2.3 and appendix G.

Reproduced: the networks with shared relative positions and a mask token, blockwise masks of 40 % (algorithm 1), the
targets, codes of DALL-E's encoder for images of 112 pixels, and the recipe, which is from memory: check it before a
long run. Different from the paper: the 112 pixels are scaled from the 224 that the network reads, not cut out of the
file. The encoder's weights are facebook/flava-image-codebook; config.objective.target.source may be another folder that
has them as model.safetensors. The target of kind "codes" finds codes by k-means over patches instead.
Command: xfm train configs/vision/beit_pretraining.py:B --workdir runs/beit --config.data.path=IMAGENET/train
Cost: 800 epochs took the authors 5 days on 16 V100 for B.  Result: not run at scale.
`tiny` is for two CPU cores: 200 steps on the digits of scikit-learn, with 32 codes found by
k-means. Result of the tiny run: 2.58 nats for each hidden patch, 0.88 below chance, and 28 % of the codes right.
"""

from xfm.augment import recipes
from xfm.configs.vision import beit, mae

PAPER = "Bao et al. 2022, BEiT: BERT Pre-Training of Image Transformers"
ORACLE = (
    "transformers BeitForMaskedImageModeling and FlavaImageCodebook with copied weights (goldens); parameter counts"
)
MARGIN = 0.5  # nats

VARIANTS = ("tiny", *beit.SIZES)
PARAMETERS = {"B": 91_965_776, "L": 311_534_016}


def network(layers, width, heads, patch, size, gate, codes, channels=3):
    """The spec of the encoder with a mask token and the head that predicts visual tokens."""
    spec = beit.network(layers, width, heads, patch, size, positions="shared", gate=gate)
    spec["embed"] |= dict(mask="token", channels=channels)
    return spec | dict(heads=dict(patches=beit.visual_tokens(codes)))


def get_config(arg="B"):
    c = mae.get_config("tiny" if arg == "tiny" else "B")
    c.evals, c.freeze = [dict(kind="linear_probe")], ()
    c.objective = dict(kind="masked_images", shown="tokens", mask=dict(kind="block", rate=0.4, least=16))
    c.objective["target"] = dict(kind="image_tokens", source="facebook/flava-image-codebook", **recipes.IMAGENET)
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, gate=0.1, codes=32, channels=1)
        c.objective["mask"]["least"] = 2
        c.objective["target"] = dict(kind="codes", codes=32, until=50)
        return c
    layers, width, heads, gate = beit.SIZES[arg]
    c.model = network(layers, width, heads, 16, 224, gate, codes=8192)
    c.augment = dict(ops=recipes.inception(area=(0.08, 1.0)))
    steps_per_epoch = 1_281_167 // 2048
    c.batch, c.steps, c.clip = 2048, 800 * steps_per_epoch, 3.0
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=1.5e-3, end=1e-5, warmup=10 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c
