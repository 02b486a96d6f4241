"""ConvBERT: half of BERT's heads become convolutions whose kernels depend on the text around a token.

Jiang, Yu, Zhou, Chen, Feng, Yan, "ConvBERT: Improving BERT with Span-based Dynamic Convolution", 2020.

Reproduced: the discriminators, parameter for parameter, and the recipe of section 5.1 with the numbers of the authors'
training file: replaced-token detection as in ELECTRA, with a generator of the same kind. Different from the paper:
convolutions do not read padding.
Command: xfm train configs/text/convbert.py:small --workdir runs/convbert --config.data.path=FOLDER_OF_TEXT
Cost: 1M steps of 128 (base: 256) rows of 128 tokens.  Result: not run at scale.
`tiny` is for two CPU cores: under a minute on the Python standard library, by masked language modelling.
"""

from xfm.configs.text import bert, electra

PAPER = "Jiang et al. 2020, ConvBERT: Improving BERT with Span-based Dynamic Convolution"
ORACLE = "transformers ConvBertModel and its heads with copied weights (goldens); published sizes (14M, 17M, 106M)"
MARGIN = 1.0  # nats

# layers, width, heads before they are halved, width of the embedding, groups; width and heads of the generator
SIZES = {
    "small": (12, 256, 4, 128, 1, 64, 1),
    "medium_small": (12, 384, 8, 128, 2, 96, 2),
    "base": (12, 768, 12, 768, 1, 256, 4),
}
VARIANTS = ("tiny", *SIZES)
# Counted in the transformers model, with ELECTRA's detection head; ELECTRA's small is also printed as 14M (13.5M).
PARAMETERS = {"small": 13_209_817, "medium_small": 17_624_113, "base": 106_271_881}
OWN = dict(groups=1, conv=9, ratio=2)


def network(layers, width, heads, vocab, factor, own=OWN, length=512, hidden=None, types=2, activation="gelu",
            eps=1e-12, drop=0.0):  # fmt: skip
    """The spec of an encoder with ELECTRA's two heads.  heads: before division by the ratio.

    own: groups of the feed-forward layers, width of the convolution, and the ratio of heads, γ of section 4.3.
    """
    own = OWN | own
    model = electra.network(layers, width, heads, vocab, length, factor, hidden, types, activation, eps, drop)
    ffn = model["pattern"][1]
    if own["groups"] > 1:
        ffn = dict(ffn, kind="grouped_mlp", groups=own["groups"])
    mixer = dict(kind="mixed_attention", heads=max(heads // own["ratio"], 1), conv=own["conv"], drop=drop)
    return model | {"pattern": [mixer, ffn]}


def pair(layers, width, heads, factor, groups, small_width, small_heads, **shared):
    """The specs of the discriminator and its generator, each with its own head."""
    shared = dict(shared, factor=factor, own=dict(groups=groups))
    large = network(layers, width, heads, **shared)
    small = network(layers, small_width, small_heads, **shared)
    del large["heads"]["mlm"], small["heads"]["replaced"]
    return large, small


def get_config(arg="base"):
    if arg == "tiny":
        return tiny(bert.get_config("tiny"))
    c = electra.get_config("base" if arg == "base" else "small")
    c.model, generator = pair(*SIZES[arg], vocab=30522, drop=0.1)
    c.objective.generator = generator
    c.data.length, c.steps = 128, 1_000_000
    c.schedule.peak = {"small": 3e-4, "medium_small": 5e-4, "base": 2e-4}[arg]
    return c


def tiny(c):
    c.model = network(2, 96, 6, vocab=2048, factor=96, own=dict(groups=2), length=64)
    del c.model.heads["replaced"]
    c.data.tokenizer.size = 2048
    c.steps, c.schedule = 250, dict(kind="linear", peak=6e-3, warmup=30)
    return c
