"""DINOv2: vision transformers whose frozen features serve many tasks, here evaluated by a linear classifier.

Oquab, Darcet, Moutakanni, Vo, Szafraniec, …, Bojanowski, "DINOv2: Learning Robust Visual Features without Supervision",
2023; the `_reg` variants: Darcet, Oquab, Mairal, Bojanowski, "Vision Transformers Need Registers", 2024.

Reproduced: the four networks, parameter for parameter, and linear evaluation on ImageNet-1k (table 4: 81.1, 84.5, 86.3
and 86.5 % for S, B, L and g). A frozen checkpoint's cls token and mean of patches, side by side, are read by one linear
map, which is trained for 12,500 steps of 1,024 images. The rate is one of the authors' grid, from memory; they report
the best of it. Different from the paper: Adam instead of SGD's grid, and no random resized crops.
Command: xfm train configs/vision/dinov2.py:B --workdir runs/dinov2 --config.data.path=IMAGENET/train \
  --config.start.source=facebook/dinov2-base
Cost: features of 12.8 million images.  Result: not run at scale.
`tiny` is for two CPU cores and learns everything from random weights: scikit-learn's digits (tiny run: accuracy 0.87).
"""

from xfm.configs.vision import vit

PAPER = "Oquab et al. 2023, DINOv2; Darcet et al. 2024, Vision Transformers Need Registers"
ORACLE = "transformers Dinov2Model and Dinov2WithRegistersModel with copied weights (goldens); published sizes (timm)"
MARGIN = 1.4  # nats

# layers, width, heads, width of the gated feed-forward part (a plain one of four times the width if None)
SIZES = {"S": (12, 384, 6, None), "B": (12, 768, 12, None), "L": (24, 1024, 16, None), "g": (40, 1536, 24, 4096)}
VARIANTS = ("tiny", *SIZES, *(f"{size}_reg" for size in SIZES))
REGISTERS = 4
# Without a mask token, with a head of 1000 classes. timm's networks with registers have D parameters less, since it
# adds the position of the cls token to that token.
BACKBONE = {"S": 22_056_192, "B": 86_579_712, "L": 304_367_616, "g": 1_136_479_232}
PARAMETERS = {size: count + (2 * SIZES[size][1] + 1) * 1000 for size, count in BACKBONE.items()}
PARAMETERS |= {f"{size}_reg": PARAMETERS[size] + REGISTERS * SIZES[size][1] for size in SIZES}


def network(
    layers, width, heads, patch, size, classes, registers=0, hidden=None, gated=None, gate=1e-5, eps=1e-6, drop_path=0.0
):
    """The spec of the pre-norm encoder with LayerScale and a head that reads the cls token and the mean of the patches.

    patch, size: a side in pixels, or (rows, columns).  hidden: width of the MLP, four times the stream's if None.
    gated: width of the SwiGLU part that takes its place, none if None.  gate: first value of LayerScale.
    """
    spec = vit.network(layers, width, heads, patch, size, classes, "gelu", hidden, eps=eps)
    spec["embed"]["registers"] = registers
    spec["embed"]["position"]["resize"] = "bicubic_antialiased" if registers else "bicubic"
    spec["residual"] = dict(kind="scaled", gate=gate, learn="channel", drop_path=drop_path)
    if gated is not None:
        spec["pattern"][1] = dict(kind="glu", hidden=gated, activation="silu")
    spec["heads"]["label"]["pool"] = dict(kind="joined")
    return spec


def get_config(arg="B"):
    c = vit.get_config("tiny" if arg == "tiny" else "B/16")
    if arg == "tiny":
        c.model = network(2, 64, 4, patch=2, size=8, classes=10, registers=2, gated=128, gate=0.5)
        c.steps, c.schedule = 150, dict(kind="cosine", peak=4e-3, warmup=20)
        c.log_every, c.eval_every, c.save_every = 25, 75, 150
        return c
    size = arg.removesuffix("_reg")
    layers, width, heads, gated = SIZES[size]
    registers = REGISTERS if arg != size else 0
    c.model = network(layers, width, heads, 14, 518, 1000, registers=registers, gated=gated)
    c.model["embed"]["channels"] = 3
    c.start = dict(source=None, head=None, fresh=("^head_label/",))
    c.train_only = ("^head_label/",)
    c.init = [(r"head_label/out/kernel$", dict(kind="truncated_normal", std=0.01))]
    c.batch, c.clip, c.ema = 1024, None, None
    c.optimiser = dict(kind="adamw", b1=0.9, b2=0.999, weight_decay=0.0)
    c.schedule = dict(kind="cosine", peak=1e-3, warmup=0)
    c.steps, c.log_every, c.eval_every, c.save_every = 12_500, 50, 1250, 1250
    c.data.size = 224
    return c
