"""TrAct: a vision transformer whose patches learn as if their activations were trained.

Petersen, Borgelt, Ermon, "TrAct: Making First-layer Pre-Activations Trainable", 2024: the first layer's gradient is
multiplied by (xᵀ x / b + λ I)^-1, λ = 0.1, and all else is DeiT's recipe.

Reproduced: the transform, on DeiT's networks and recipe (the paper trains DeiT III's).
Command: xfm train configs/vision/tract.py:deit_S --workdir runs/tract --config.data.path=IMAGENET/train
Cost: as vision/vit; the inverse is of a matrix of 768 x 768.  Result: not run at scale.
`tiny` is for two CPU cores: scikit-learn's digits (tiny run: accuracy 0.87).
"""

from xfm.configs.vision import vit

PAPER = "Petersen et al. 2024, TrAct: Making First-layer Pre-Activations Trainable"
ORACLE = "the plain gradient times NumPy's inverse; values of the plain layer; invariance to contrast"
MARGIN = 1.2  # nats
VARIANTS = ("tiny", *vit.DEIT)
PARAMETERS = {name: vit.PARAMETERS[name] for name in vit.DEIT}


def get_config(arg="deit_S"):
    c = vit.get_config(arg)
    c.transforms = [dict(kind="tract", damping=0.1)]
    if arg == "tiny":
        c.steps, c.schedule = 200, dict(kind="cosine", peak=4e-3, warmup=20)
        c.eval_every = c.save_every = 100
    return c
