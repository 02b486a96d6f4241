"""Dual PatchNorm: layer normalisation before and after the linear map of the patches of a vision transformer.

Kumar, Dehghani, Houlsby, "Dual PatchNorm", 2023.

Reproduced: the networks of table 1, which are ViT's with two more norms, and the recipe of ViT on ImageNet-1k; the
paper's gains there are 1.4 and 0.4 points for B/32 and B/16 by the recipe of "How to train your ViT?", which also has
RandAugment and mixup.
Command: xfm train configs/vision/dual_patchnorm.py:B/16 --workdir runs/dpn --config.data.path=IMAGENET/train
Cost: as ViT's.  Result: not run at scale.
`tiny` is for two CPU cores: scikit-learn's digits (tiny run: accuracy 0.80).
"""

from xfm.configs.vision import vit

PAPER = "Kumar et al. 2023, Dual PatchNorm"
ORACLE = "the formula of its stem (tests/parts); ViT's parameter counts and 2 (P² C) + 2 D more, as section 3 says"
MARGIN = 1.2  # nats

VARIANTS = ("tiny", *(f"{size}/{patch}" for size in ("S", "B", "L") for patch in (16, 32)))
PARAMETERS = {
    name: vit.PARAMETERS[name] + 2 * 3 * int(name.split("/")[1]) ** 2 + 2 * vit.SIZES[name.split("/")[0]][1]
    for name in VARIANTS[1:]
}


def get_config(arg="B/16"):
    c = vit.get_config(arg)
    patch = c.model["embed"]["patch"]
    norm = dict(kind="layernorm", eps=1e-6)
    stem = dict(kind="normed_patches", patch=patch, in_norm=norm, out_norm=norm)
    c.model["embed"].update(patch=None, stem=stem)
    if arg == "tiny":
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        c.log_every, c.eval_every, c.save_every = 25, 100, 200
    return c
