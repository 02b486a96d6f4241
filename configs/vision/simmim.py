"""SimMIM: masked image modelling with mask tokens in the encoder, one linear layer and raw pixels.

Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu, "SimMIM: A Simple Framework for Masked Image Modeling", 2022.

Reproduced: pre-training of ViT-B and Swin-B (sections 3 and 4.1): squares of 32 pixels, 60 % of them hidden, the mean
absolute error of hidden pixels. The recipe is from memory: check it before a long run.
Command: xfm train configs/vision/simmim.py:swin_B --workdir runs/simmim --config.data.path=IMAGENET/train
Cost: 800 epochs of ImageNet at 192 pixels for Swin-B.  Result: not run at scale.
`tiny` and `digits` are for two CPU cores and the digits of scikit-learn. `tiny`, 200 steps, ends at an absolute error
of 0.366 (one seed), where the mean pixel has one of 0.612 and the median digit, for which no pixel need be seen, 0.361.
`digits`, 2,000 steps with patches of 2 x 2, ends at 0.245 and 0.240 (seeds 0 and 1), and is below the median digit
after 400. With ten labels a class, a linear probe of the mean of its tokens then classifies 56.7 % and 59.3 % of the
digits held out; with random weights it is 39.6 %, 35.3 % and 33.9 % (three seeds).
"""

from xfm.augment import recipes
from xfm.configs.vision import mae, swin, vit

PAPER = "Xie et al. 2022, SimMIM: A Simple Framework for Masked Image Modeling"
ORACLE = "transformers ViTForMaskedImageModeling (goldens) and SwinForMaskedImageModeling: parameter counts"
MARGIN = 0.1  # of the mean absolute error of pixels

VARIANTS = ("tiny", "digits", "B", "swin_B")
PARAMETERS = {"B": 86_390_016, "swin_B": 89_874_104}


def masked(spec, stride, channels):
    """The network with a mask token, and a head that draws the pixels of the last grid's positions."""
    spec["embed"] |= dict(mask="token", channels=channels)
    return {**spec, "heads": dict(pixels=dict(kind="pixels", stride=stride, channels=channels))}


def get_config(arg="B"):
    c = mae.get_config(arg if arg in ("tiny", "digits") else "B")
    c.evals, c.freeze = [dict(kind="linear_probe", shots=10 if arg == "digits" else None)], ()
    c.objective = dict(kind="masked_images", shown="tokens")
    c.objective["target"] = dict(kind="pixels", scale="image", distance="absolute")
    c.objective["mask"] = dict(kind="units", rate=0.6, unit=2)
    if arg in ("tiny", "digits"):
        patch, c.objective["mask"]["unit"] = (1, 2) if arg == "tiny" else (2, 1)  # squares of 2 x 2 pixels in both
        c.model = masked(vit.network(2, 64, 4, patch, size=8, classes=0, activation="gelu"), patch, 1)
        return c
    if arg == "B":
        c.model = masked(vit.network(12, 768, 12, patch=16, size=224, classes=0, activation="gelu", eps=1e-12), 16, 3)
    else:
        layers, width, heads, _ = swin.SIZES["B"]
        spec = swin.network(layers, width, heads, patch=4, window=6, classes=0)
        c.model = masked(spec, 32, 3)
        c.objective["mask"]["unit"] = 8
        c.data["size"], c.data["stored"] = 192, 224
    size = c.data["size"]
    c.augment = dict(ops=recipes.inception(size, area=(0.67, 1.0)))
    steps_per_epoch = 1_281_167 // 2048
    c.batch, c.steps, c.clip = 2048, 800 * steps_per_epoch, 5.0
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.05)
    c.schedule = dict(kind="cosine", peak=8e-4, end=2e-5, warmup=20 * steps_per_epoch)
    c.eval_every = c.save_every = 10 * steps_per_epoch
    return c
