"""ViTs that differ from the plain one by one small change, a paper each.

`lape_S`: DeiT-S whose positions enter each layer through a norm of their own. Yu et al., "LaPE", 2023 ("Position
Embedding Needs an Independent Layer Normalization", 2022).
`memory_B`: fine-tuning that trains ten tokens of memory in each layer, the class token and the head alone. Sandler et
al., "Fine-tuning Image Transformers using Learnable Memory", 2022.
`minimal`, `minimal_symmetric`: no MLP, one matrix for queries and keys, which may be symmetric, and none for values.
Bermeitinger et al., "Reducing the Transformer Architecture to a Minimum", 2024.
`activator_A`, `activator_B`: a gated MLP in the place of attention, with the plain MLP and without; no class token.
"Activator: GLU Activations as The Core Functions of a Vision Transformer", 2024.

Reproduced: the changes; the recipes are DeiT-S's and, of `memory_B`, fine-tuning for 20,000 steps.
Command: xfm train configs/vision/small_changes.py:lape_S --workdir runs/lape --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two layers that have the changes of the first three papers at once. Result of the tiny run:
96.9 % of scikit-learn's digits held out are classified correctly after 200 steps.
"""

from xfm.configs.vision import vit

PAPER = "LaPE (2023), Learnable Memory (2022), Minimal Transformer (2024), Activator (2024)"
ORACLE = "identities of each change (tests/parts/test_small_changes.py) and closed formulas of the parameters"
MARGIN = 1.5  # nats

VARIANTS = ("tiny", "lape_S", "memory_B", "minimal", "minimal_symmetric", "activator_A", "activator_B")
S, B = vit.PARAMETERS["S/16"], vit.PARAMETERS["B/16"]
D, LAYERS = 384, 12
MLP, ATTENTION, NORM = 8 * D**2 + 5 * D, 4 * D**2 + 4 * D, 2 * D
# With 1000 classes, from ViT's by each paper's own count of what its change adds or takes.
PARAMETERS = {
    "lape_S": S + LAYERS * 2 * D,
    "memory_B": B + LAYERS * 10 * 768,
    "minimal": S - LAYERS * (MLP + NORM + ATTENTION - D**2),
    "minimal_symmetric": S - LAYERS * (MLP + NORM + ATTENTION - D * (D + 1) // 2),
    "activator_A": S - 2 * D - LAYERS * (ATTENTION - 3 * D**2 - 3 * D),
    "activator_B": S - 2 * D - LAYERS * (ATTENTION - 3 * D**2 - 3 * D + MLP + NORM),
}


def lape(c):
    """One table of positions for all layers, each of which reads it through a norm."""
    embed, (mixer, mlp) = c.model["embed"], c.model["pattern"]
    c.model["position"] = dict(embed["position"], width=embed["width"])
    embed["position"] = dict(kind="none")
    c.model["pattern"] = [dict(kind="positioned", mixer=mixer, position=dict(kind="shared")), mlp]


def memory(c, tokens):
    """Memory that each layer's mixer reads."""
    mixer, mlp = c.model["pattern"]
    c.model["pattern"] = [dict(kind="extended", mixer=mixer, tokens=tokens), mlp]


def get_config(arg="lape_S"):
    c = vit.get_config({"tiny": "tiny", "memory_B": "B/16"}.get(arg, "deit_S"))
    pattern = c.model["pattern"]
    if arg == "tiny":
        return tiny(c)
    if arg == "lape_S":
        lape(c)
    elif arg == "memory_B":
        memory(c, 10)
        c.train_only = [r"/memory$", r"embed/cls$", r"head_label/"]
        c.steps, c.batch, c.eval_every, c.save_every = 20_000, 512, 1_000, 1_000
        c.schedule = dict(kind="cosine", peak=0.01, warmup=500)
    elif arg.startswith("minimal"):
        similarity = "symmetric" if arg.endswith("symmetric") else "free"
        c.model["pattern"] = [dict(kind="collapsed_attention", similarity=similarity, values="none")]
    else:
        glu = dict(kind="glu", hidden=D, activation="gelu")
        c.model["pattern"] = [glu, pattern[1]] if arg.endswith("A") else [glu]
        c.model["embed"].update(cls=0, position=dict(c.model["embed"]["position"], first=0))
        c.model["heads"] = dict(label=dict(kind="classification", classes=1000, pool=dict(kind="mean")))
    return c


def tiny(c):
    memory(c, 3)
    lape(c)
    c.model["pattern"].append(dict(kind="collapsed_attention", heads=2, similarity="symmetric"))
    c.objective.update(mixup=0.0)
    c.steps, c.schedule = 200, dict(kind="cosine", peak=8e-3, warmup=20)
    return c
