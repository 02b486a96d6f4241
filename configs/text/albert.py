"""ALBERT: an encoder whose layers share their parameters, with a narrower embedding.

Lan, Chen, Goodman, Gimpel, Sharma, Soricut, "ALBERT: A Lite BERT for Self-supervised Learning of Language
Representations", 2020.

Reproduced: the networks of table 1, parameter for parameter, and the batch, steps and schedule of section 4.1.
Different from the paper: single tokens are masked instead of n-grams; the second objective, sentence order, is left out
(its head exists for checkpoints); the tokeniser is WordPiece instead of SentencePiece.
Command: xfm train configs/text/albert.py:base --workdir runs/albert --config.data.path=FOLDER_OF_TEXT
Cost: 125k steps of 4096 rows; the paper used 64 to 512 TPU v3 chips.  Result: not run at scale.
`tiny` is for two CPU cores: less than a minute on the Python standard library.
"""

from xfm.configs.text import bert

PAPER = "Lan et al. 2020, ALBERT: A Lite BERT for Self-supervised Learning of Language Representations"
ORACLE = "transformers AlbertForPreTraining with copied weights (goldens); published sizes (12M, 18M, 60M)"
MARGIN = 0.3  # nats

# layers, width, heads
SIZES = {"base": (12, 768, 12), "large": (24, 1024, 16), "xlarge": (24, 2048, 16), "xxlarge": (12, 4096, 64)}
VARIANTS = ("tiny", *SIZES)
# Counted in the transformers model with both heads; table 1 prints 12M, 18M and 60M, and 235M for xxlarge, which does
# not agree with the sizes in the same table.
PARAMETERS = {"base": 11_813_810, "large": 17_847_474, "xlarge": 59_021_490, "xxlarge": 223_158_450}


def network(layers, width, heads, vocab, length=512, factor=128, groups=1, hidden=None, types=2, activation="gelu_tanh",
            eps=1e-12, drop=0.0):  # fmt: skip
    """The spec of an encoder of `groups` layers, each applied layers / groups times, with the pre-training heads."""
    spec = bert.network(groups, width, heads, vocab, length, hidden, types, activation, eps, drop)
    spec["embed"]["factor"] = factor
    spec["loops"] = layers // groups
    spec["heads"]["sop"] = spec["heads"].pop("nsp")
    return spec


def get_config(arg="base"):
    c = bert.get_config("tiny" if arg == "tiny" else "base")
    if arg == "tiny":
        return tiny(c)
    c.model = network(*SIZES[arg], vocab=30000, drop=0.0 if arg == "xxlarge" else 0.1)
    c.objective.pairs = "none"
    c.data.tokenizer.size = 30000
    c.batch, c.steps = 4096, 125_000
    c.optimiser = dict(kind="lamb", b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01)
    c.schedule = dict(kind="linear", peak=1.76e-3, warmup=3_125)
    return c


def tiny(c):
    c.model = network(layers=2, width=128, heads=4, vocab=2048, length=32, factor=64)
    del c.model.heads["pooled"], c.model.heads["sop"]
    return bert.short(c)
