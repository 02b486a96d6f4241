"""Supervised learning with masked images: a ViT that classifies, and whose hidden patches a shallow decoder predicts.

Chen, Salz, Chang, Sohn, Krishnan, Seyedhosseini, "Improve Supervised Representation Learning with Masked Image
Modeling", 2023.

Reproduced, from the abstract alone: both tasks of one encoder, of which the second has a decoder that inference leaves
out. The paper's details could not be looked up. Ours are: the whole image is classified and the visible quarter of it
encoded again; the decoder has two layers; image tokens are codes found by k-means over patches, as in
vision/beit_pretraining, where the paper has those of a tokeniser; both losses weigh alike; the rest is DeiT's recipe.
Command: xfm train configs/vision/supervised_mim.py:B14 --workdir runs/supervised_mim --config.data.path=IMAGENET/train
Cost: not known. The paper's B14 has 81.72 % on ImageNet-1k, 2.01 above its baseline.  Result: not run at scale.
`tiny` is for two CPU cores. Result of the tiny run of 150 steps: 0.87 nats of the labels, where the
shares of the classes have 2.30, and 2.29 nats of the 32 codes of hidden patches, 33 % of which are right.
"""

from xfm.configs.vision import mae, vit

PAPER = "Chen et al. 2023, Improve Supervised Representation Learning with Masked Image Modeling"
ORACLE = "both losses by their formulas; without its decoder the network is the plain ViT, to the bit"
MARGIN = 1.0  # nats

VARIANTS = ("tiny", "B14")
# The ViT-B/16 of timm, with the patches and positions of B/14, and the decoder.
ENCODER = 86_567_656 - (16**2 - 14**2) * 3 * 768 + (16**2 - 14**2) * 768
PARAMETERS = {"B14": ENCODER + mae.decoder_size(512, 768, 14, out=8192, depth=2)}


def network(layers, width, heads, patch, size, classes, codes, channels=3, inner=512, inner_heads=16, drop_path=0.0):
    """The spec of the ViT with its head, and of a decoder of two layers that predicts codes."""
    spec = vit.network(layers, width, heads, patch, size, classes, activation="gelu", drop_path=drop_path)
    spec["embed"]["channels"] = channels
    decoder = mae.network(layers, width, heads, patch, size, channels, 2, inner, inner_heads)["decoder"]
    decoder["heads"] = dict(patches=dict(kind="tagging", classes=codes))
    return {**spec, "kind": "autoencoder", "decoder": decoder}


def get_config(arg="B14"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_B")
    classes, codes, until = (10, 32, 50) if arg == "tiny" else (1000, 8192, 2000)
    c.objective.update(kind="supervised_masked_images", mask=dict(kind="random", rate=0.75), classes=classes)
    c.objective["target"] = dict(kind="codes", codes=codes, until=until)
    c.freeze = [r"^decoder/embed/position/table$"]
    if arg == "tiny":
        c.model = network(2, 64, 4, 2, 8, classes, codes, channels=1, inner=32, inner_heads=4)
        c.batch, c.steps, c.schedule = 64, 150, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    layers, width, heads = vit.SIZES["B"]
    c.model = network(layers, width, heads, 14, 224, classes, codes, drop_path=0.1)
    return c
