"""DeiT with distillation: a class token learns from the labels, and a token beside it from a teacher.

Touvron, Cord, Douze, Massa, Sablayrolles, Jégou, "Training data-efficient image transformers & distillation through
attention", 2021, section 4.

Reproduced: the networks with two tokens and two heads, and hard distillation (equation 3; `soft_S`: equation 2). The
paper's teacher, RegNetY-16GF, is not here: any checkpoint or run that classifies the same classes will do.
Command: xfm train configs/vision/deit_distilled.py:S --workdir runs/student \
  --config.data.path=IMAGENET/train --config.objective.teacher.source=runs/teacher
Cost: 300 epochs of ImageNet, and the teacher's forward pass of each image.  Result: not run at scale.
`tiny` is for two CPU cores; its teacher has random weights, so that it shows only that both losses are trained. Result
of the tiny run of 150 steps: a validation loss of the head for labels of 0.55 nats, where the baseline is 2.30.
"""

from xfm.configs.vision import vit

PAPER = "Touvron et al. 2021, Training data-efficient image transformers & distillation through attention"
ORACLE = "timm's parameter counts of the distilled networks; both losses by their equations"
MARGIN = 1.0  # nats

VARIANTS = ("tiny", "Ti", "S", "B", "soft_S")
PARAMETERS = {"Ti": 5_910_800, "S": 22_436_432, "B": 87_338_192, "soft_S": 22_436_432}


def network(layers, width, heads, patch, size, classes, drop_path=0.1):
    """The spec of the ViT with a class token and a distillation token, each with a head."""
    spec = vit.network(layers, width, heads, patch, size, classes, "gelu", cls=2, drop_path=drop_path)
    label = dict(kind="classification", classes=classes)
    return spec | dict(heads=dict(label=label, distillation=dict(label, pool=dict(kind="cls", index=1))))


def get_config(arg="S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, classes=10, drop_path=0.0)
        teacher = vit.network(1, 16, 2, patch=2, size=8, classes=10, activation="gelu")
        c.objective = dict(kind="distillation", classes=10, teacher=dict(network=teacher), share=0.3)
        c.batch, c.steps, c.schedule = 64, 150, dict(kind="cosine", peak=4e-3, warmup=20)
        return c
    c.model = network(*vit.SIZES[arg.removeprefix("soft_")], patch=16, size=224, classes=1000)
    c.model["embed"]["channels"] = 3
    c.objective.update(kind="distillation", teacher=dict(source=None, network=vit.get_config("L/16").model.to_dict()))
    if arg.startswith("soft_"):
        c.objective.update(form="soft", share=0.1, temperature=3.0)
    return c
