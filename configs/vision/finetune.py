"""Fine-tuning for image classification: a pre-trained vision transformer with a new linear head.

He, Chen, Xie, Li, Dollár, Girshick, "Masked Autoencoders Are Scalable Vision Learners", 2022, appendix A.2, table 9,
which follows Bao, Dong, Piao, Wei, "BEiT: BERT Pre-Training of Image Transformers", 2021, appendix H.

Reproduced: the recipe (AdamW, 100 epochs of 1,024 images with 5 of warm-up, layer-wise decay of the learning rate,
label smoothing, mixup and cutmix, stochastic depth), which is from memory: check it before a long run. The learning
rate is base times batch / 256. Crops are made of images stored at 8/7 of the size.
Command: xfm train configs/vision/finetune.py --workdir runs/mine --config.data.path=FOLDER_OF_CLASS_FOLDERS \
  --config.start.source=FOLDER_OR_NAME_OF_A_CHECKPOINT_OR_RUN
The number of classes goes into --config.objective.classes and --config.model.heads.label.classes. The images are
normalised as the checkpoint's were; --config.data.size may differ from its, since positions are resized.
Cost: ViT-B took the authors 100 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores and starts from random weights: scikit-learn's digits (tiny run of 200 steps: accuracy
0.76).
"""

from ml_collections import ConfigDict

from xfm.augment import recipes
from xfm.configs.vision import vit
from xfm.structures.pretrained import network

PAPER = "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, table 9; Bao et al. 2021, BEiT"
ORACLE = "layer-wise factors by the formula; the checkpoint's own features before the first step (tests/train)"
MARGIN = 1.2  # nats
# epochs, base rate for 256 images, layer-wise decay, stochastic depth
RECIPES = {"B": (100, 5e-4, 0.65, 0.1), "L": (50, 1e-3, 0.75, 0.2), "H": (50, 1e-3, 0.75, 0.3)}
VARIANTS = ("tiny", *RECIPES)
PARAMETERS = {"B": 86_567_656, "L": 304_326_632, "H": 632_045_800}
IMAGES = 1_281_167
HEAD = ("^head_label/",)  # the parameters that a checkpoint need not have


def get_config(arg="B"):
    epochs, base, decay, drop_path = RECIPES["B" if arg == "tiny" else arg]
    c = vit.get_config("H/14" if arg == "H" else f"{'B' if arg == 'tiny' else arg}/16")
    default = c.model.to_dict()
    head = default.pop("heads")["label"]
    default["embed"]["drop"], default["residual"], default["pattern"][1]["drop"] = 0.0, dict(kind="plain"), 0.0
    c.start = dict(source=None, head=None, fresh=HEAD)
    # A checkpoint's own classification head, with another number of classes; or the default one.
    c.model = ConfigDict(
        dict(
            kind="pretrained", default=default, residual=dict(drop_path=drop_path),
            heads=dict(label=dict(kind="pretrained", default=head, classes=1000)),
        )
    )  # fmt: skip
    c.init = [(r"head_label/out/kernel$", dict(kind="truncated_normal", std=2e-5))]
    c.objective.update(smoothing=0.1, mixup=0.8, cutmix=1.0)
    c.augment = dict(ops=recipes.deit())
    c.data.update(stored=256, augment=())
    c.batch, c.clip = 1024, None
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.05)
    c.layer_decay = dict(rate=decay)
    steps = IMAGES // c.batch
    c.steps = epochs * steps
    c.schedule = dict(kind="cosine", peak=base * c.batch / 256, end=1e-6, warmup=5 * steps)
    c.log_every, c.eval_every, c.save_every = 50, steps, steps
    return tiny(c) if arg == "tiny" else c


def tiny(c):
    small = vit.get_config("tiny")
    c.model = network(dict(c.model.to_dict(), default=small.model.to_dict()))
    c.model["heads"] = small.model.heads.to_dict()
    c.init, c.data, c.evals = [], small.data, small.evals
    c.augment = dict(ops=[dict(kind="random_resized_crop", size=8, area=(0.7, 1.0)), dict(kind="erase", chance=0.1)])
    c.objective.update(classes=10, mixup=0.1, cutmix=0.1)
    c.layer_decay = dict(rate=0.9)
    c.batch, c.steps, c.clip = 64, 200, 1.0
    c.schedule = dict(kind="cosine", peak=5e-3, warmup=20)
    c.log_every, c.eval_every, c.save_every = 20, 100, 200
    return c
