"""ViT in which two attentions run side by side and two MLPs; fine-tuning of attention; a stem that keeps patches apart.

Touvron, Cord, El-Nouby, Verbeek, Jégou, "Three things everyone should know about Vision Transformers", 2022.

Reproduced: the parallel networks of section 3 (`18x2`: eighteen layers of two by two, which have the parameters of 36
layers); section 4 as `attention_only`: fine-tuning S at another resolution, where attention and the head are trained;
section 5 as `hmlp`: S with the hierarchical stem, with layer normalisation, where the paper also has batch
normalisation. The recipe is DeiT's, where the paper has DeiT III's.
Command: xfm train configs/vision/three_things.py:S_18x2 --workdir runs/parallel --config.data.path=IMAGENET/train
Cost: 400 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: one layer of two by two on scikit-learn's digits; it reads 94 % of the
validation's right.
"""

from xfm.augment import recipes
from xfm.configs.vision import vit

PAPER = "Touvron et al. 2022, Three things everyone should know about Vision Transformers"
ORACLE = "timm's ParallelThingsBlock with copied weights (goldens); its parameter counts"
MARGIN = 1.5  # nats

# layers, width, heads
SIZES = {"S_18x2": (18, 384, 6), "B_18x2": (18, 768, 12)}
VARIANTS = ("tiny", *SIZES, "hmlp", "attention_only")
# With 1000 classes, as timm counts; a layer of two by two has 14.2 million in B.
PARAMETERS = {"S_18x2": 64_665_448, "B_18x2": 256_731_880}


def network(layers, width, heads, patch, size, classes, drop_path=0.0, start=1e-5):
    """The spec of the pre-norm network; each branch has a norm before and a scale after it, which starts at `start`."""
    norm = dict(kind="layernorm", eps=1e-6)
    spec = vit.network(layers, width, heads, patch, size, classes, "gelu", drop_path=drop_path)

    def twice(part):
        scale = dict(kind="affine", start=start, bias=False)
        return dict(part=[dict(part=part, norms={"in": norm, "residual": scale})] * 2)

    return spec | dict(pattern=[twice(part) for part in spec["pattern"]], norms={})


def get_config(arg="S_18x2"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(1, 64, 4, patch=2, size=8, classes=10, start=0.1)
        c.model["embed"].update(patch=None, stem=dict(kind="hmlp", sides=(1, 2)))
        c.steps, c.schedule = 200, dict(kind="cosine", peak=8e-3, warmup=20)
        c.objective.update(mixup=0.0)
    elif arg == "hmlp":
        c.model.embed.update(patch=None, stem=dict(kind="hmlp", norm=dict(kind="layernorm", eps=1e-6)))
    elif arg == "attention_only":
        c.train_only = [r"attention_\d+/", r"head_label/"]
        c.model.embed.position.size = 384 // 16
        c.data.update(size=384, stored=438)
        c.augment = dict(ops=recipes.deit(384))
    else:
        c.model = network(*SIZES[arg], patch=16, size=224, classes=1000, drop_path=0.05 if arg[0] == "S" else 0.2)
    return c
