"""Funnel-Transformer: blocks of layers on ever fewer tokens, and a decoder for pre-training.

Dai, Lai, Yang, Le, "Funnel-Transformer: Filtering out Sequential Redundancy for Efficient Language Processing", 2020.

Reproduced: the five networks whose weights were published, parameter for parameter, with their decoder of two layers
(for masked language modelling) and, as SIZE_base, without it (for classification, which the paper fine-tunes on GLUE);
their relative attention, pooled queries, and separate first token. The recipe is that of the base scale of section 3.1
with masked language modelling. Different from the paper: the published weights were trained by replaced-token detection
(see text/electra), the large ones on a larger corpus; peak and warm-up are BERT's, and batch and steps are from memory;
check them before a long run.
Command: xfm train configs/text/funnel.py:small --workdir runs/funnel --config.data.path=FOLDER_OF_TEXT
Cost: 1M steps of 256 rows of 512 tokens.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Dai et al. 2020, Funnel-Transformer: Filtering out Sequential Redundancy for Efficient Language Processing"
ORACLE = "transformers FunnelModel, FunnelBaseModel and heads (goldens); sizes of the published files (115.6M to 441M)"
MARGIN = 0.8  # nats

# layers of each block, how often each of them runs, width, heads
SIZES = {
    "small": ((4, 4, 4), (1, 1, 1), 768, 12),
    "medium": ((6, 3, 3), (1, 2, 2), 768, 12),
    "intermediate": ((6, 6, 6), (1, 1, 1), 768, 12),
    "large": ((8, 8, 8), (1, 1, 1), 1024, 16),
    "xlarge": ((10, 10, 10), (1, 1, 1), 1024, 16),
}
BASES = tuple(f"{size}_base" for size in SIZES)
VARIANTS = ("tiny", *SIZES, *BASES)
# Counted in transformers' masked language model; for a base, in its encoder with a classifier of two classes. This
# agrees with the encoders' published files: 462 MB (small, medium), 1.44 GB (large) and 1.76 GB (xlarge) in float32.
PARAMETERS = {
    "small": 131_003_706, "medium": 131_003_706, "intermediate": 177_088_314, "large": 386_158_394,
    "xlarge": 468_051_770,
    "small_base": 116_203_778, "medium_base": 116_203_778, "intermediate_base": 162_288_386,
    "large_base": 359_881_730, "xlarge_base": 441_775_106,
}  # fmt: skip
POOLING = dict(pool="mean", first="apart", end="cut", keys="before")


def network(
    blocks, loops, width, heads, vocab, head_width=None, hidden=None, decoder=2, pooling=POOLING,
    activation="gelu_tanh", eps=1e-9, drop=0.0,
):  # fmt: skip
    """The spec of the post-norm encoder, with a decoder unless that is None; the embedding has no positions.

    pooling: pool, first and end of the structure `funnel`, and keys: whether the keys of a block's first layer are the
    tokens "before" pooling, or "after".
    """
    pooling = POOLING | pooling
    keys = pooling.pop("keys")
    norm = dict(kind="layernorm", eps=eps)
    mixer = dict(
        kind="pooled_relative", heads=heads, width=None if head_width == width / heads else head_width,
        reads="before" if keys == "before" else None,
        cls="free" if pooling["first"] == "apart" else "counted", drop=drop,
    )  # fmt: skip
    return dict(
        kind="funnel",
        embed=dict(kind="tokens", vocab=vocab, width=width, types=None, norm=norm, drop=drop),
        pattern=[mixer, dict(kind="mlp", hidden=hidden or 4 * width, activation=activation)],
        blocks=tuple(blocks),
        loops=tuple(loops),
        decoder=decoder,
        **pooling,
        norms={"out": norm},
        residual=dict(kind="plain", drop=drop),
        heads=dict(mlm=dict(kind="mlm", vocab=vocab)) if decoder is not None else dict(label=classifier(2)),
    )


def classifier(classes):
    return dict(kind="classification", classes=classes, pool=dict(kind="dense"))


def get_config(arg="small"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    c.objective.pairs = "none"
    if arg == "tiny":
        c.model = network((1, 1, 1), (1, 1, 1), 64, 2, vocab=2048, decoder=1)
        c.data.tokenizer.size = 2048
        c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.1))]
        c.batch, c.steps, c.schedule = 32, 200, dict(kind="linear", peak=6e-3, warmup=20)
        return c
    sizes, decoder = SIZES[arg.removesuffix("_base")], None if arg in BASES else 2
    c.model = network(*sizes, vocab=30522, head_width=64, decoder=decoder, drop=0.1)
    c.init = [(r"(kernel|embedding|table)$", dict(kind="truncated_normal", std=0.02))]
    if arg in BASES:
        c.objective = dict(kind="classification", classes=2)
        c.evals = [dict(kind="classes")]
        c.data.update(kind="labelled", path="data", length=128)
        del c.data["packing"]
        c.batch, c.steps, c.schedule = 32, 3000, dict(kind="linear", peak=2e-5, warmup=300)
        c.eval_every = c.save_every = 1000
    return c
