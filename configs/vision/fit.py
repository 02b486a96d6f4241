"""FIT: transformers over groups of patches, between which a few latents of each group carry what the groups know.

Chen, Li, "FIT: Far-reaching Interleaved Transformers", 2023.

Reproduced: the encoder of images of section 2, (1)3(1)3(1)3 in the authors' notation: three blocks of one layer within
groups and three over latents. Its diffusion decoder and its autoregressive mode are not here. The sizes are ours, with
the widths of ViT-S and ViT-B, since the paper's tables were not at hand; the recipe is that of DeiT.
Command: xfm train configs/vision/fit.py:S --workdir runs/fit --config.data.path=IMAGENET/train
Cost: 300 epochs of ImageNet.  Result: not run at scale.
`tiny` is for two CPU cores: two blocks on scikit-learn's digits, of whose held out ones 92.9 % are classified correctly
after 120 steps.
"""

from xfm.configs.vision import vit

PAPER = "Chen, Li 2023, FIT: Far-reaching Interleaved Transformers"
ORACLE = "identities: a stack where one group has no latents, groups that meet in latents alone, counted products"
MARGIN = 1.2  # nats

SIZES = {"S": (384, 6), "B": (768, 12)}  # width, heads
BLOCKS, INNER, OVER, LATENTS = 3, 1, 3, 8  # layers within groups and over latents in each block; latents of a group
SIDE, GROUP, PATCH = 256, 64, 16  # pixels
VARIANTS = ("tiny", *SIZES)


def parameters(width):
    """Of patches with positions in their group and of latents; layers; attention from one to the other; the head."""
    groups, tokens = (SIDE // GROUP) ** 2, (GROUP // PATCH) ** 2
    layers = BLOCKS * (INNER + OVER) * (12 * width**2 + 13 * width)
    across = (2 * BLOCKS - 1) * (4 * width**2 + 8 * width)
    return (3 * PATCH**2 + 1 + tokens + groups * LATENTS) * width + layers + across + 2 * width + 1000 * (width + 1)


PARAMETERS = {name: parameters(width) for name, (width, _) in SIZES.items()}


def network(width, heads, group, patch, latents, blocks, inner, over, classes, drop_path=0.0):
    """The spec of the pre-norm network.

    group, patch: sides of a group and of a patch, in pixels.  latents: of a group.  inner, over: layers in each block.
    """
    norm, side = dict(kind="layernorm", eps=1e-6), group // patch
    attention, mlp = dict(kind="attention", heads=heads), dict(kind="mlp", hidden=4 * width)
    return dict(
        kind="interleaved",
        embed=dict(
            kind="words", patch=group, width=width, size=patch, stride=patch, margin=0,
            position=dict(kind="learned_grid", size=side, first=0),
        ),
        group=side**2,
        latents=latents,
        width=width,
        inner=[attention, mlp] * inner,
        read=[dict(attention, memory="tokens")],
        pattern=[attention, mlp] * over,
        write=[dict(attention, memory="latents")],
        repeats=blocks,
        memory_norm=norm,
        norms={"in": norm},
        residual=dict(kind="plain", drop_path=drop_path),
        norm=norm,
        heads=dict(label=dict(kind="classification", classes=classes, pool=dict(kind="mean"))),
    )  # fmt: skip


def get_config(arg="S"):
    c = vit.get_config("tiny" if arg == "tiny" else "deit_S")
    if arg == "tiny":
        c.model = network(48, 4, group=4, patch=2, latents=2, blocks=2, inner=1, over=1, classes=10)
        c.objective.update(mixup=0.0, smoothing=0.0)
        c.steps, c.schedule = 120, dict(kind="cosine", peak=4e-3, warmup=12)
        return c
    c.model = network(*SIZES[arg], GROUP, PATCH, LATENTS, BLOCKS, INNER, OVER, 1000, drop_path=0.1)
    c.model["embed"]["channels"] = 3
    c.data.update(size=SIDE, stored=292)
    return c
