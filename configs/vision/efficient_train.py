"""EfficientTrain: a vision backbone sees low frequencies and weak augmentation first.

Wang, Yue, Lu, Liu, Zhong, Song, Huang, "EfficientTrain: Exploring Generalized Curriculum Learning for Training Visual
Backbones", 2023, table 4: images of 160, 192 and 224 pixels, cropped from the centre of the spectrum, in 60, 20 and
20 % of 300 epochs, and RandAugment whose magnitude rises from 0 to 9.

Reproduced: the curriculum, on DeiT's networks and recipe, without repeated augmentation; from memory, check it before a
long run. It stands around any objective and network on images: edit `objective.objective` and `model`.
Command: xfm train configs/vision/efficient_train.py:deit_S --workdir runs/fast --config.data.path=IMAGENET/train
Cost: 65 % of the patches of 300 epochs.  Result: not run at scale.
`tiny` is for two CPU cores: digits of 6 x 6 pixels in 40 % of the steps, then of 8 x 8.
"""

from xfm.augment import recipes
from xfm.configs.vision import vit

PAPER = "Wang et al. 2023, EfficientTrain"
ORACLE = "NumPy's Fourier transforms; the published sizes per epoch; DeiT's parameter counts"
MARGIN = 0.7  # nats
VARIANTS = ("tiny", *vit.DEIT)
PARAMETERS = {name: vit.PARAMETERS[name] for name in vit.DEIT}
SIDES, STARTS = (160, 192, 224), (0.0, 0.6, 0.8)  # of images, and the share of the run at which each begins


def get_config(arg="deit_S"):
    c = vit.get_config(arg)
    if arg == "tiny":
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        c.eval_every = c.save_every = 100
    else:
        c.augment = dict(ops=recipes.deit(ramp=c.steps))
        c.repeats = 1
    begins = ((0.0, 6), (0.4, 8)) if arg == "tiny" else tuple(zip(STARTS, SIDES, strict=True))
    stages = [(round(share * c.steps), side) for share, side in begins]
    c.objective = dict(kind="curriculum", objective=c.objective.to_dict(), stages=stages)
    return c
